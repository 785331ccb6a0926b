"""What a person does to a playbook: roll back, approve, put into quarantine, take in a file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from atlas.cli.export import project_source
from atlas.cli.history import Where, no_version
from atlas.cli.project import Project
from atlas.cli.review import reviewer
from atlas.memory import loses_too_much, lost, merged, next_version, reviewed, rolled_back
from atlas.memory.files import read_lessons
from atlas.schema import Playbook
from atlas.schema.errors import ConfigError, StaleVersion
from atlas.store.open import open_database
from atlas.store.shelf import Deed, Shelf

Change = Callable[[Playbook], Playbook]
"""From the newest version to the one that shall follow."""
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
    async with _shelf(project) as shelf:
        old = await shelf.book(*where, version)
        if old is None and version > 0:
            raise no_version(where, version)
        old = old or _empty(where)

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

        deed = Deed(who=reviewer(), what="rolled_back", note=note or None)
        made = await _publish(shelf, where, change, lambda: deed)
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

    async with _shelf(project) as shelf:
        what = "approved" if approved else "quarantined"
        made = await _publish(
            shelf, where, change, lambda: Deed(who=reviewer(), what=what, entry=found, note=note or None)
        )
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

    async with _shelf(project) as shelf:
        deed = Deed(who=reviewer(), what="imported", note=file.name)
        made = await _publish(shelf, where, change, lambda: deed)
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


@asynccontextmanager
async def _shelf(project: Project) -> AsyncGenerator[Shelf]:
    source = project_source(project)
    async with open_database(source.place, statement_timeout_s=source.timeout_s) as database:
        yield Shelf(database, project.safety())


def _empty(where: Where) -> Playbook:
    return Playbook(tenant=where[0], key=where[1], audience=where[2])


async def _publish(shelf: Shelf, where: Where, change: Change, deed: Callable[[], Deed]) -> Playbook:
    """Write the changed newest version and who wanted it; once more when somebody else was first."""
    for _ in range(TRIES):
        made = change(await shelf.book(*where) or _empty(where))
        try:
            await shelf.publish(made, deed())
        except StaleVersion:
            await asyncio.sleep(0.01)
            continue
        return made
    raise StaleVersion(f"The playbook of {where[1]} changed {TRIES} times meanwhile.", "Try again.")
