"""What pages show of playbooks: the shelf, a book's history, and what came of one session."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any, Literal, cast

from atlas.schema import Audience, Entry, EntryState, Noun, Playbook
from atlas.store.boundary import Safety, safety_of
from atlas.store.database import Database
from atlas.store.pooling import Bodies, Pool, escape, unescape

MOVES = 300
"""Changes of state that a history shows."""


class Book(Noun):
    """Where a playbook stands."""

    tenant: str
    """Its owner."""
    key: str
    """Its learning key."""
    audience: Audience
    """Who reads it."""
    version: int
    """The newest version."""
    created_at: datetime
    """When that was written (UTC)."""
    states: dict[EntryState, int]
    """How many entries are in each state."""


class Version(Noun):
    """One version of a playbook."""

    version: int
    """Its number."""
    created_at: datetime
    """When it was written (UTC)."""
    session: str | None
    """The session that brought it; None for a person's decision, an import or a rollback."""
    entries: int
    """How many it holds."""


class Move(Noun):
    """An entry came, went into another state, or was dropped."""

    version: int
    """The version in which it happened."""
    at: datetime
    """When that was written (UTC)."""
    session: str | None
    """The session that brought it."""
    entry: str
    """The entry's id."""
    cue: str
    """When the entry applies."""
    action: str
    """What it says."""
    before: EntryState | None
    """The state before; None for a new one."""
    after: EntryState | None
    """The state since; None for one that was dropped."""
    reason: str
    """Why."""


class Deed(Noun):
    """What a person does to a playbook."""

    who: str
    """Who."""
    what: Literal["approved", "quarantined", "rolled_back", "imported"]
    """What."""
    entry: str | None = None
    """Which entry; None for a rollback or an import."""
    note: str | None = None
    """What was said."""


class Done(Deed):
    """What a person did to a playbook."""

    at: datetime
    """When (UTC)."""
    version: int
    """The version that came of it."""


class Lesson(Noun):
    """An entry with the playbook it stands in."""

    tenant: str
    """The playbook's owner."""
    key: str
    """Its learning key."""
    version: int
    """The newest version."""
    entry: Entry
    """The entry as it stands there."""


class Learnt(Noun):
    """What came of one session."""

    versions: tuple[tuple[Audience, int], ...]
    """Playbook versions that it brought."""
    lessons: tuple[Lesson, ...]
    """Entries of today that name it as their source."""


class Shelf:
    """Reads playbooks for pages."""

    def __init__(self, database: Database, safety: Safety | None = None) -> None:
        """Without `safety` the defaults of the configuration hold for what is written."""
        self._database = database
        self._clean = (safety or safety_of()).boundary

    async def books(self, *, limit: int = 500) -> list[Book]:
        """The newest version of each playbook, by owner, key and reader."""
        rows = await self._database.rows("shelf_books", limit)
        return [
            Book.model_validate(
                {
                    **row,
                    "tenant": unescape(row["tenant"]),
                    "key": unescape(row["key"]),
                    "states": _json(row["states"]),
                }
            )
            for row in map(dict[str, Any], rows)
        ]

    async def versions(self, tenant: str, key: str, audience: Audience, *, limit: int = 100) -> list[Version]:
        """The newest versions of a playbook."""
        rows = await self._database.rows("shelf_versions", escape(tenant), escape(key), audience, limit)
        return [Version.model_validate({**row, "session": _id(row["session"])}) for row in map(dict[str, Any], rows)]

    async def book(self, tenant: str, key: str, audience: Audience, version: int | None = None) -> Playbook | None:
        """One version, the newest when `version` is None; None where there is none."""
        stored = await self._database.value("playbook", escape(tenant), escape(key), audience, version)
        if stored is None:
            return None
        told = cast("dict[str, Any]", Bodies({1: stored}).body(1))
        return Playbook.model_validate({**told, "tenant": tenant, "key": key, "audience": audience})

    async def moves(self, tenant: str, key: str, audience: Audience) -> list[Move]:
        """What happened to the entries of a playbook, newest first, at most `MOVES`."""
        rows = await self._database.rows("shelf_moves", escape(tenant), escape(key), audience, MOVES)
        return [
            Move.model_validate(
                {
                    **row,
                    "session": _id(row["session"]),
                    "cue": unescape(row["cue"]),
                    "action": unescape(row["action"]),
                    "reason": unescape(row["reason"]),
                }
            )
            for row in map(dict[str, Any], rows)
        ]

    async def publish(self, book: Playbook, deed: Deed) -> None:
        """Write a playbook's next version because a person wants it, and who that was, in one transaction.

        Raises:
            StaleVersion: somebody else wrote a newer version first; nothing was written.
        """
        stored = Pool().alone(self._clean.noun(book))
        said = None if deed.note is None else escape(self._clean.text(deed.note))
        where = (escape(book.tenant), escape(book.key), book.audience, book.version)
        await self._database.rows(
            "publish_decided", [stored], uuid.uuid4(), escape(deed.who), deed.what, *where, deed.entry, said
        )

    async def trail(self, tenant: str, key: str, audience: Audience) -> list[Done]:
        """What people did to a playbook, newest first."""
        rows = await self._database.rows("playbook_trail", escape(tenant), escape(key), audience)
        return [
            Done.model_validate(
                {**row, "who": unescape(row["who"]), "note": None if row["note"] is None else unescape(row["note"])}
            )
            for row in map(dict[str, Any], rows)
        ]

    async def learnt_from(self, session_id: uuid.UUID, *, tenant: str, key: str) -> Learnt:
        """What came of one session."""
        where = (escape(tenant), escape(key))
        versions = await self._database.rows("shelf_brought", *where, session_id)
        lessons = await self._database.rows("shelf_learnt", *where, str(session_id))
        return Learnt(
            versions=tuple((row["audience"], row["version"]) for row in versions),
            lessons=tuple(_lesson(row) for row in lessons),
        )

    async def candidates(self, *, limit: int = 100) -> list[Lesson]:
        """Entries that wait for a person's word, those of the newest playbooks first."""
        return [_lesson(row) for row in await self._database.rows("shelf_candidates", limit)]


def _lesson(row: Any) -> Lesson:
    return Lesson(
        tenant=unescape(row["tenant"]),
        key=unescape(row["key"]),
        version=row["version"],
        entry=Entry.model_validate(Bodies({1: row["entry"]}).body(1)),
    )


def _id(session: object) -> str | None:
    return None if session is None else str(session)


def _json(stored: str) -> Any:
    return json.loads(stored)
