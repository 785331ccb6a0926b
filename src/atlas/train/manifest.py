"""What a run was: everything needed to understand it, and to do it again."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from atlas.schema import Noun, content_hash
from atlas.schema.errors import TrainError
from atlas.train.examples import Example

MANIFEST = "run.json"
PACKAGES = ("atlas-loop", "torch", "numpy", "safetensors", "pydantic")

RunStatus = Literal["running", "succeeded", "failed"]


class Manifest(Noun):
    """A training run on one page."""

    id: str
    """UUID version 7."""
    method: str
    """sft, gkd or grpo."""
    role: str
    """Who was trained."""
    status: RunStatus
    """running, succeeded or failed."""
    failure: str | None = None
    """Why it failed, in one line."""
    config: dict[str, Any]
    """The whole configuration, defaults included (a payload)."""
    seed: int
    """Of data order, sampling and new weights."""
    source: str
    """Where the sessions were read, without credentials."""
    data: str
    """SHA-256 over the examples that were trained on."""
    examples: int
    """How many there were."""
    sessions: tuple[str, ...]
    """The sessions they are from."""
    base: str
    """The checkpoint it started from."""
    base_sha256: str
    """Hash of its weights."""
    checkpoint: str | None = None
    """Folder of the trained checkpoint, relative to the run's."""
    checkpoint_sha256: str | None = None
    """Hash of its weights."""
    git: str | None
    """Commit of the working directory; `-dirty` where it has changes; None where it is no repository."""
    versions: dict[str, str]
    """Python, platform and packages."""
    processes: int
    """Processes that trained together."""
    started_at: datetime
    """When it started (UTC)."""
    finished_at: datetime | None = None
    """When it ended (UTC)."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """The last step's, and those of the evaluation."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `run.json`, whole or not at all.

    Raises:
        TrainError: the disk refused it.
    """
    part = folder / (MANIFEST + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
        os.replace(part, folder / MANIFEST)
    except OSError as error:
        raise TrainError(f"{folder / MANIFEST} cannot be written ({error}).", "Give another --output.") from error


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run folder; None where there is none.

    Raises:
        TrainError: it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return Manifest.model_validate_json(path.read_text("utf-8"))
    except ValueError as error:
        raise TrainError(f"{path} is damaged.", "Give another --output.") from error


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 over what the examples teach, in their order."""
    return content_hash(*(example.identity for example in examples))


def weights_sha256(folder: Path) -> str:
    """Hash of a checkpoint's weights.

    Raises:
        TrainError: they cannot be read.
    """
    try:
        with (folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainError(f"{folder} has no readable model.safetensors.", "Copy the checkpoint again.") from error


def git_commit(folder: Path = Path()) -> str | None:
    """The commit of a working directory."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return commit and commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")


def versions() -> dict[str, str]:
    """What the run ran on."""
    told = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    return told
