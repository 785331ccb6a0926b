"""What a person does to a playbook: roll back, approve, put into quarantine, take in a file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from atlas.cli.history import Where, one_version
from atlas.cli.project import Project
from atlas.cli.review import reviewer
from atlas.memory import loses_too_much, lost, merged, next_version, reviewed, rolled_back
from atlas.memory.files import read_lessons
from atlas.schema import Playbook
from atlas.schema.errors import ConfigError, StaleVersion
from atlas.store import Store

TRIES = 20
MAX_ENTRIES = 200
"""Entries of one playbook."""
MAX_BYTES = 5_000_000
"""Of a file that is taken in."""


async def roll_back(project: Project, where: Where, version: int, note: str, sure: bool) -> str:
    """Write the rollback and say what it did.

    Raises:
        ConfigError: no such version, nothing to change, or it drops more than a fifth of the active lessons unasked.
    """
    async with project.store() as store:
        old = await one_version(store, where, version)

        def change(newest: Playbook) -> Playbook:
            if old.entries == newest.entries:
                raise ConfigError(
                    f"Version {newest.version} has these entries already.", "There is nothing to roll back."
                )
            made = rolled_back([newest, old], version, _said(note))
            if loses_too_much(newest, made) and not sure:
                names = ", ".join(lost(newest, made))
                raise ConfigError(
                    f"This drops more than a fifth of the active lessons ({names}).", "Look at them, then say --yes."
                )
            return made

        made = await _publish(store, where, change)
    return f"version {made.version} of {where[1]} has the entries of version {version}"


async def decide(project: Project, where: Where, entry_id: str, *, approved: bool, note: str) -> str:
    """Write a person's word on one lesson and say what became of it.

    Raises:
        ConfigError: there is no such lesson, several begin so, or it acts already.
    """
    found = ""

    def change(newest: Playbook) -> Playbook:
        nonlocal found
        names = [entry.id for entry in newest.entries if entry.id.startswith(entry_id)]
        if len(names) != 1:
            cause = "Several lessons begin with" if names else "There is no lesson"
            raise ConfigError(f"{cause} {entry_id} at {where[1]}.", f"See: atlas playbook show {where[1]}")
        found = names[0]
        try:
            entries = reviewed(newest.entries, found, approved=approved, note=_said(note))
        except ValueError as error:
            raise ConfigError(f"{error}.".capitalize()) from error
        return next_version(newest, entries, f"review: {'approved' if approved else 'quarantined'} {found}")

    async with project.store() as store:
        made = await _publish(store, where, change)
    state = next(entry.state for entry in made.entries if entry.id == found)
    return f"{found} is {state} in version {made.version} of {where[1]}"


async def take_in(project: Project, where: Where, file: Path) -> list[str]:
    """Add a file's lessons as candidates and say how many were new.

    Raises:
        ConfigError: the file cannot be read, or holds no lesson.
    """
    text = _text(file)
    lessons = read_lessons(text, audience=where[2], name=file.name, who=reviewer())
    before: set[str] = set()

    def change(newest: Playbook) -> Playbook:
        before.update(entry.id for entry in newest.entries)
        entries = merged(newest.entries, lessons.entries, MAX_ENTRIES)
        if entries == newest.entries:
            raise ConfigError(f"{file.name} holds nothing new for {where[1]}.")
        return next_version(newest, entries, f"import of {file.name}")

    async with project.store() as store:
        made = await _publish(store, where, change)
    new = [entry for entry in made.entries if entry.id not in before]
    lines = [f"{len(new)} new candidates of {len(lessons.entries)} lessons in version {made.version} of {where[1]}"]
    lines += [f"left out: {cause}" for cause in lessons.refused]
    return [*lines, f"look at them: atlas playbook show {where[1]} --audience {where[2]}"]


def _said(note: str) -> str:
    return f"{reviewer()}{': ' if note else ''}{note}"


def _text(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(MAX_BYTES + 1) if str(file) == "-" else file.read_bytes()[: MAX_BYTES + 1]
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{file} is larger than {MAX_BYTES:,} bytes.", "A playbook is small; is it the right file?")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no UTF-8 text (byte {error.start}).") from error


async def _publish(store: Store, where: Where, change: Callable[[Playbook], Playbook]) -> Playbook:
    """Write the changed newest version; once more when somebody else was first."""
    for _ in range(TRIES):
        made = change(await store.playbook(*where))
        try:
            await store.publish([made])
        except StaleVersion:
            await asyncio.sleep(0.01)
            continue
        return made
    raise StaleVersion(f"The playbook of {where[1]} changed {TRIES} times meanwhile.", "Try again.")
