"""What discovery decided, as `.atlas/discover.json` keeps it, and whether it still holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from atlas.discovery.facts import Candidate, Place, Scan
from atlas.discovery.look import Look
from atlas.discovery.scan import hash_of, scan_file
from atlas.schema import Noun
from atlas.schema.errors import DiscoveryError

FOLDER = ".atlas"
RECORD, CONFIG, FACTORIES = "discover.json", "generated_config.yaml", "generated_factories.py"

Freshness = Literal["fresh", "changed", "gone"]
"""Nothing it rests on has changed; something has, and what was chosen is still there; or it is not there any more."""


class Chosen(Noun):
    """One candidate that the configuration names."""

    candidate: Candidate
    """What was found."""
    import_path: str | None
    """What the configuration says; None for a script, which is started by its file."""
    look: Look | None = None
    """What the child process found out; None where nothing was run."""


class Discovered(Noun):
    """The outcome of `atlas env init`."""

    version: Literal[1] = 1
    """Of this record."""
    created_at: datetime
    """When (UTC)."""
    task: str | None = None
    """What `atlas run` asks where it is given no task."""
    agent: Chosen | None = None
    """The student; None where only a world was found."""
    environment: Chosen | None = None
    """Its world; None without one."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the environment is made with (a payload)."""
    frameworks: tuple[str, ...] = ()
    """As in `Scan`."""
    others: tuple[Candidate, ...] = ()
    """Candidates that were not chosen, the likeliest first."""
    prompts: tuple[Place, ...] = ()
    """As in `Scan`."""
    tools: tuple[Place, ...] = ()
    """As in `Scan`."""
    models: tuple[str, ...] = ()
    """As in `Scan`."""
    keys: tuple[str, ...] = ()
    """As in `Scan`; names, never values."""
    hashes: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the files that were chosen from and of those that were generated, by path below the project."""

    @property
    def chosen(self) -> tuple[Chosen, ...]:
        """Agent and environment, where there are."""
        return tuple(each for each in (self.agent, self.environment) if each is not None)


def read_record(root: Path) -> Discovered | None:
    """The project's record; None where `atlas env init` has not been there.

    Raises:
        DiscoveryError: it cannot be read.
    """
    file = root / FOLDER / RECORD
    try:
        return Discovered.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise DiscoveryError(f"{file} cannot be read ({type(error).__name__}).", "Run: atlas env init") from None


def freshness(discovered: Discovered, root: Path) -> Freshness:
    """Whether what the record rests on is as it was."""
    changed = False
    for chosen in discovered.chosen:
        wanted = chosen.candidate
        if hash_of(root / wanted.file) != discovered.hashes.get(wanted.file):
            changed = True
            there = {(each.role, each.kind, each.name, each.needs) for each in scan_file(root, wanted.file)}
            if (wanted.role, wanted.kind, wanted.name, wanted.needs) not in there:
                return "gone"
    return "changed" if changed else "fresh"


def edited(discovered: Discovered | None, root: Path, name: str) -> bool:
    """Whether a generated file is there and not as it was generated."""
    file = root / FOLDER / name
    now = hash_of(file)
    return now is not None and (discovered is None or discovered.hashes.get(f"{FOLDER}/{name}") != now)


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write generated files, each whole or not at all.

    Raises:
        DiscoveryError: the folder cannot be written, or is a link that leads elsewhere.
    """
    folder = root / FOLDER
    try:
        if folder.is_symlink():
            raise DiscoveryError(f"{folder} is a link.", "Make it a folder of the project.")
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            passing = folder / f".{name}.{os.getpid()}"
            passing.write_text(text, "utf-8")
            passing.replace(folder / name)
    except OSError as error:
        raise DiscoveryError(f"{folder} cannot be written ({error.strerror}).", "Check its permissions.") from error


def unchosen(scan: Scan, chosen: tuple[Chosen, ...]) -> tuple[Candidate, ...]:
    """At most twenty other candidates."""
    taken = [each.candidate for each in chosen]
    return tuple(each for each in scan.candidates if each not in taken)[:20]
