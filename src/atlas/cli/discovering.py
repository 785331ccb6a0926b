"""What `atlas env init` does between its options and its words."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from atlas.discovery import (
    CONFIG,
    FACTORIES,
    FOLDER,
    RECORD,
    Chosen,
    Discovered,
    Order,
    Scan,
    choose,
    config_text,
    edited,
    factories,
    hash_of,
    look,
    read_record,
    scan,
    unchosen,
    write,
)
from atlas.discovery.known import FOREIGN
from atlas.schema import now
from atlas.schema.errors import DiscoveryError


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for."""

    agent: str | None
    """This agent."""
    environment: str | None
    """This environment."""
    arguments: dict[str, Any]
    """What the environment is made with."""
    task: str | None
    """A task to keep."""
    full: bool
    """Every key of the configuration."""
    force: bool
    """Write over edited files."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A discovery whose files are written but for the record."""

    record: Discovered
    """What will be kept."""

    def looked_at(self, root: Path, *, timeout_s: float, variables: Mapping[str, str]) -> Draft:
        """The same, with what a child process found out about each of what was chosen."""
        changes: dict[str, Chosen] = {}
        for chosen in self.record.chosen:
            if chosen.import_path is not None:
                role = chosen.candidate.role
                arguments = self.record.arguments if role == "environment" else {}
                order = Order(role=role, import_path=chosen.import_path, root=str(root), arguments=arguments)
                said = look(order, timeout_s=timeout_s, variables=variables)
                changes[role] = chosen.model_copy(update={"look": said})
        return replace(self, record=self.record.model_copy(update=changes))


def discover(root: Path, wishes: Wishes) -> Draft:
    """Read the project, choose, and write the configuration and the wrappers; a wrapper is shown as a diff first.

    Raises:
        DiscoveryError: there is no agent and no environment, or a generated file was edited.
    """
    known = read_record(root)
    found = scan(root)
    agent = choose(found, "agent", wishes.agent, root)
    world = choose(found, "environment", wishes.environment, root)
    chosen = tuple(each for each in (agent, world) if each is not None)
    if not chosen:
        raise _nothing(root, found)
    record = _record(root, found, chosen, wishes)
    files = {CONFIG: _config(record, full=wishes.full)}
    wrappers = factories(chosen, root)
    if wrappers is not None:
        files[FACTORIES] = wrappers
    for name, text in files.items():
        _guard(root, name, text, known, force=wishes.force)
    if wrappers is not None:
        _show(root, wrappers)
    write(root, files)
    hashes = record.hashes | {f"{FOLDER}/{name}": hash_of(root / FOLDER / name) or "" for name in files}
    return Draft(record.model_copy(update={"hashes": hashes}))


def save(root: Path, record: Discovered) -> None:
    """Write the record; from now on `atlas run` goes by it.

    Raises:
        DiscoveryError: it cannot be written.
    """
    write(root, {RECORD: record.model_dump_json(indent=2) + "\n"})


def _record(root: Path, found: Scan, chosen: tuple[Chosen, ...], wishes: Wishes) -> Discovered:
    by_role = {each.candidate.role: each for each in chosen}
    files = {each.candidate.file for each in chosen}
    return Discovered(
        created_at=now(),
        task=wishes.task,
        agent=by_role.get("agent"),
        environment=by_role.get("environment"),
        arguments=wishes.arguments,
        frameworks=found.frameworks,
        others=unchosen(found, chosen),
        prompts=found.prompts,
        tools=found.tools,
        models=found.models,
        keys=found.keys,
        hashes={file: hash_of(root / file) or "" for file in sorted(files)},
    )


def _config(record: Discovered, *, full: bool) -> str:
    text = config_text(record, os.environ)
    if not full:
        return text
    import yaml

    from atlas.config import parse_config

    tree = parse_config(text).model_dump(mode="json", by_alias=True)
    return "".join(f"{line}\n" for line in text.splitlines()[:1]) + yaml.safe_dump(tree, sort_keys=False)


def _guard(root: Path, name: str, text: str, known: Discovered | None, *, force: bool) -> None:
    """Refuse to write over what a person wrote.

    Raises:
        DiscoveryError: the file is there, edited, and would change.
    """
    file = root / FOLDER / name
    if force or not edited(known, root, name) or file.read_text("utf-8", "replace") == text:
        return
    raise DiscoveryError(f"{file} was edited.", "Move it away, or write over it with --force.")


def _show(root: Path, text: str) -> None:
    """The diff of the wrappers, on stderr."""
    file = root / FOLDER / FACTORIES
    before = file.read_text("utf-8", "replace") if file.is_file() else ""
    name = f"{FOLDER}/{FACTORIES}"
    for line in difflib.unified_diff(before.splitlines(), text.splitlines(), name, name, lineterm=""):
        click.echo(line, err=True)
    if before != text and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(f"Write {name}?", default=True, abort=True, err=True)


def _nothing(root: Path, found: Scan) -> DiscoveryError:
    """What to do where nothing was found."""
    foreign = next((language for name, language in FOREIGN.items() if (root / name).is_file()), None)
    remedy = "Mark it with @atlas.agent, name it with --agent-fn, or begin with: atlas env scaffold"
    if foreign and not found.files:
        return DiscoveryError(f"{root} is a {foreign} project.", 'Try: atlas run --task "…" -- your-program')
    guess = next((each.label for each in found.candidates), None)
    hint = f" The likeliest guess is {guess}." if guess else ""
    return DiscoveryError(f"No agent was found in {len(found.files)} Python files of {root}.{hint}", remedy)
