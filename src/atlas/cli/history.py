"""Time travel: versions compared, the life of each lesson, who saw what, and why."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.cli.project import Project
from atlas.cli.text import columns, evidence_text, lesson_text
from atlas.memory import matches_task
from atlas.runtime.telemetry.words import safe
from atlas.schema import Audience, Entry, Playbook, Recalled, Session
from atlas.schema.errors import ConfigError
from atlas.store import Store

Where = tuple[str, str, Audience]
"""Tenant, learning key and audience of a playbook."""


async def one_version(store: Store, where: Where, version: int | None) -> Playbook:
    """One version of a playbook, the newest when `version` is None.

    Raises:
        ConfigError: there is no such version.
    """
    found = await store.playbook(*where, version)
    if version is not None and found.version != version:
        raise no_version(where, version)
    return found


def no_version(where: Where, version: int) -> ConfigError:
    """The error of a version that does not exist."""
    return ConfigError(f"The playbook of {where[1]} has no version {version}.", f"See: atlas playbook blame {where[1]}")


def diff_lines(older: Playbook, newer: Playbook) -> Iterator[str]:
    """What changed: lessons added, gone, moved to another state, and what was measured meanwhile."""
    before, after = ({entry.id: entry for entry in book.entries} for book in (older, newer))
    yield f"{newer.audience}'s playbook of {safe(newer.key)}, version {older.version} to {newer.version}"
    for name in [*before, *(name for name in after if name not in before)]:
        yield from _difference(before.get(name), after.get(name))


def _difference(old: Entry | None, new: Entry | None) -> Iterator[str]:
    if old is None and new is not None:
        yield f"+ {new.id} [{new.state}] {lesson_text(new)}"
        yield f"    {safe(new.reason, 500)}"
    elif old is not None and new is None:
        yield f"- {old.id} [{old.state}] {lesson_text(old)}"
    elif old is not None and new is not None and old != new:
        moved = f"[{old.state}] to [{new.state}]" if old.state != new.state else f"[{new.state}]"
        yield f"~ {new.id} {moved} {lesson_text(new)}"
        if old.reason != new.reason:
            yield f"    {safe(new.reason, 500)}"
        if old.evidence != new.evidence:
            yield f"    {evidence_text(old)}"
            yield f"    {evidence_text(new)}"


async def blame_lines(project: Project, where: Where) -> list[str]:
    """For each lesson the versions that brought it in and moved it."""
    async with project.store() as store:
        lives: dict[str, list[tuple[Playbook, Entry | None]]] = {}
        last: dict[str, Entry] = {}
        async for book in store.versions(*where):
            here = {entry.id: entry for entry in book.entries}
            for name, entry in here.items():
                if name not in last or last[name].state != entry.state:
                    lives.setdefault(name, []).append((book, entry))
            for name in last.keys() - here.keys():
                lives[name].append((book, None))
            last = here
    if not lives:
        return [f"The {where[2]}'s playbook of {safe(where[1])} is empty."]
    return [line for name, steps in lives.items() for line in _life(name, steps)]


def _life(name: str, steps: list[tuple[Playbook, Entry | None]]) -> Iterator[str]:
    first = next(entry for _, entry in steps if entry is not None)
    source = first.provenance
    yield f"{name} {lesson_text(first)}"
    yield f"    by {safe(source.author or 'nobody named', 60)}, from {_sources(first)}"
    for book, entry in steps:
        what = "dropped to make room" if entry is None else f"{entry.state}: {safe(entry.reason, 300)}"
        origin = f" ({safe(book.origin, 200)})" if book.origin else ""
        yield f"    version {book.version}, {book.created_at:%Y-%m-%d %H:%M}{origin}: {what}"


def _sources(entry: Entry) -> str:
    source = entry.provenance
    parts = [*(f"session {name}" for name in source.sessions), *(safe(step, 80) for step in source.lineage)]
    return ", ".join(parts) or "no session"


async def session_lines(project: Project, where: Where, version: int) -> list[str]:
    """The sessions that ran with a version."""
    tenant, key, audience = where
    table = [("SESSION", "STARTED", "LANE", "REWARD", "SHOWN", "WITHHELD")]
    async with project.store() as store:
        await one_version(store, where, version)
        async for row in store.ledger(tenant, key):
            seen = row.student if audience == "student" else row.teacher
            if seen.version == version:
                reward = "-" if row.reward is None else f"{row.reward:.2f}"
                shown = ", ".join(entry.id for entry in seen.shown) or "-"
                held = ", ".join(seen.held_out) or "-"
                table.append((row.id, f"{row.at:%Y-%m-%d %H:%M}", row.lane or "-", reward, shown, held))
    return list(columns(table))


async def why_session(project: Project, session_id: str) -> list[str]:
    """Why a session saw what it saw.

    Raises:
        ConfigError: there is no such session.
    """
    async with project.store() as store:
        session = await store.session(session_id)
        if session is None:
            raise ConfigError(f"There is no session {session_id}.", "For a lesson give --key too.")
        lines = [f"session {session.id}, key {safe(session.task.learning_key)}"]
        for seen in (session.student_memory, session.teacher_memory):
            task = session.task
            book = await store.playbook(task.tenant, task.learning_key, seen.audience, seen.version)
            lines += _why_seen(session, seen, book)
    if session.compared is not None:
        told = session.compared
        other = "without it" if told.shown else "with it"
        what = f"lesson {told.entry_id} {other}" if told.entry_id else f"version {told.against}"
        lines.append(f"the task was done once more with {what}: {told.outcome:.2f}")
    return lines


def _why_seen(session: Session, seen: Recalled, book: Playbook) -> Iterator[str]:
    yield f"{seen.audience}'s playbook, version {seen.version}: {len(book.entries)} lessons"
    odds = dict(seen.propensities)
    shown = {entry.id for entry in seen.shown}
    for entry in book.entries:
        if not matches_task(entry.cue, session.task):
            continue
        if entry.id in shown:
            chance = f" (with probability {odds[entry.id]:.2f})" if entry.id in odds else ""
            yield f"  shown{chance}: {lesson_text(entry)}"
        elif entry.id in seen.held_out:
            yield f"  withheld by chance, as control (shown with {odds.get(entry.id, 0):.2f}): {lesson_text(entry)}"
        elif entry.state not in ("trial", "active"):
            yield f"  not shown, it was {entry.state}: {lesson_text(entry)}"
        else:
            yield f"  not shown, others with its cue or more trust filled the places: {lesson_text(entry)}"


async def why_lesson(project: Project, tenant: str, key: str, entry_id: str) -> list[str]:
    """Why a lesson is in its state, with everything it came from.

    Raises:
        ConfigError: there is no such lesson, or several begin so.
    """
    async with project.store() as store:
        books = [await store.playbook(tenant, key, audience) for audience in ("student", "teacher")]
    found = [(book, entry) for book in books for entry in book.entries if entry.id.startswith(entry_id)]
    if len(found) != 1:
        cause = "Several lessons begin with" if found else "There is no lesson"
        raise ConfigError(f"{cause} {entry_id} at {key}.", f"See: atlas playbook show {key}")
    return list(_why(*found[0]))


def _why(book: Playbook, entry: Entry) -> Iterator[str]:
    source = entry.provenance
    yield f"{entry.id} [{entry.state}] {lesson_text(entry)}"
    yield f"    {safe(entry.reason, 500) or 'no reason was recorded'}"
    yield f"    {evidence_text(entry)}"
    author, judges = safe(source.author or "nobody named", 80), ", ".join(map(safe, source.verdicts))
    yield f"    read by the {book.audience}; trust {entry.trust:.2f}; written by {author}"
    yield f"    rewarded by {source.reward_source}" + (f": {judges}" if judges else "")
    yield f"    from {_sources(entry)}"
    if entry.expected_effect:
        yield f"    expected: {safe(entry.expected_effect, 400)}"
