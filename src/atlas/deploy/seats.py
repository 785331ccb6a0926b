"""Where policies lie: immutable folders named by their weights, and one link per seat that moves atomically.

`llm: {provider: local, model: .atlas/policies/teacher}` puts the promoted one into the loop.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from atlas.schema import PolicyRole
from atlas.schema.errors import StoreError
from atlas.train.manifest import weights_sha256

POLICIES = "policies"
DIGITS = 12


def folder_of(state: Path, sha256: str) -> Path:
    """The folder of a checkpoint by its hash. `state` is the project's `.atlas`."""
    return state / POLICIES / sha256[:DIGITS]


def keep(state: Path, checkpoint: Path) -> str:
    """Copy a checkpoint into the project, whole or not at all; returns the hash of its weights.

    Raises:
        StoreError: it cannot be copied.
        TrainError: it has no weights.
    """
    sha256 = weights_sha256(checkpoint)
    target = folder_of(state, sha256)
    if target.is_dir():
        return sha256
    part = target.with_suffix(".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(checkpoint, part)
        part.rename(target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{checkpoint} cannot be copied to {target} ({error}).", "Free space.") from error
    return sha256


def point(state: Path, role: PolicyRole, sha256: str) -> Path:
    """Let a seat's link lead to a kept checkpoint, in one step.

    Raises:
        StoreError: the link cannot be written.
    """
    link = state / POLICIES / role
    part = link.with_suffix(".part")
    try:
        part.unlink(missing_ok=True)
        part.symlink_to(sha256[:DIGITS])
        os.replace(part, link)
    except OSError as error:
        raise StoreError(f"{link} cannot be written ({error}).", "Check the folder's permissions.") from error
    return link
