"""Reading sessions out of a database: one connection, read-only, page by page."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.export.selection import Selection, named
from atlas.schema import Status
from atlas.schema.errors import ConfigError, StoreError
from atlas.store import ReviewStatus
from atlas.store.database import Database, address, unavailable
from atlas.store.pooling import ESC, escape, unescape

if TYPE_CHECKING:
    import asyncpg

    from atlas.store.embedded import Embedded

PAGE = 200
"""Sessions of one page."""
CHUNK = 500
"""Events fetched in one round trip."""
SCHEME = "atlas://"
"""Opens the address of a project's own database: `atlas://` and the path of its state folder."""
TOLD = (
    "session_started",
    "session_resumed",
    "memory_recalled",
    "triaged",
    "routed",
    "planned",
    "attempted",
    "reviewed",
    "degraded",
    "answered",
    "rewarded",
    "finished",
)
"""Events that say what a session is; the others are what happened on the way."""
_LOADED = [*TOLD, "tool_called"]
"""Events that are loaded whole in any case; of a model's call then only what it said."""
_REFERENCE = re.compile(ESC + "r([0-9]+):(completion/message)?")


class StoredEvent(NamedTuple):
    """The columns of one event."""

    seq: int
    at: datetime
    type: str
    actor: str | None
    step: int | None
    attempt: int | None
    duration_s: float | None
    purpose: str | None
    usage: str | None


class StoredSession(NamedTuple):
    """A session as the database holds it."""

    id: str
    created_at: datetime
    status: Status
    review_status: ReviewStatus
    review_notes: str | None
    drift: str | None
    """What drift detection said, as JSON."""
    events: list[StoredEvent]
    """In order of `seq`; empty where retention has removed them."""
    payloads: dict[int, str]
    """Bodies by `seq`, as stored; not necessarily of every event, but of all that the others refer to."""


class Place(NamedTuple):
    """Where a reading stopped: everything older comes after it."""

    created_at: datetime
    uid: uuid.UUID


@cache
def queries() -> Mapping[str, str]:
    """The statements of `sql/queries.sql` by name, fragments in place."""
    text = files("atlas.export").joinpath("sql", "queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: sql.replace("{chosen}", named["chosen"]) for name, sql in named.items()}


class Reader:
    """Reads sessions through one connection; each page is one moment of the database."""

    def __init__(self, connection: asyncpg.Connection, where: str) -> None:
        self._connection = connection
        self._where = where

    async def count(self, selection: Selection) -> int:
        """How many sessions pass, limit and offset aside."""
        rows = await self._rows("count", *await self._filters(selection))
        return rows[0][0]

    async def sessions(
        self, selection: Selection, *, events: bool = True, page: int = PAGE, after: Place | None = None
    ) -> AsyncGenerator[StoredSession]:
        """The sessions that pass, newest first; `after` goes on where an earlier reading stopped.

        Without `events`, only the bodies that say what a session is are loaded.
        """
        filters = await self._filters(selection)
        left, offset = selection.limit, selection.offset if after is None else 0
        while left is None or left > 0:
            size = page if left is None else min(page, left)
            async with self._snapshot():
                rows = await self._rows("sessions", *filters, *(after or (None, None)), size, offset)
                async with aclosing(self._with_events(rows, events)) as sessions:
                    async for session in sessions:
                        yield session
            if len(rows) < size:
                return
            after, offset = Place(rows[-1]["created_at"], rows[-1]["uid"]), 0
            left = None if left is None else left - size

    async def questions(self, selection: Selection) -> AsyncGenerator[Selection]:
        """For each question that was asked, oldest first, the selection of its sessions."""
        filters = await self._filters(selection)
        limits = (selection.limit, selection.offset)
        async with self._snapshot(), aclosing(self._stream("questions", *filters, *limits)) as rows:
            async for row in rows:
                yield selection.model_copy(update={"ids": tuple(map(str, row["uids"])), "limit": None, "offset": 0})

    async def resolve(self, session_id: str) -> uuid.UUID | None:
        """The one session that is meant; None where there is none.

        Raises:
            ConfigError: it is no session id.
            StoreError: several sessions begin so.
        """
        meant = named(session_id)
        if meant.range is None:
            rows = await self._rows("numbered", meant.number)
        elif meant.range[0] == meant.range[1]:
            return meant.range[0]
        else:
            rows = await self._rows("beginning", *meant.range)
        if len(rows) > 1:
            raise StoreError(f"Several sessions begin with {session_id}.", "Give more of the id.")
        return uuid.UUID(str(rows[0]["uid"])) if rows else None

    async def _filters(self, selection: Selection) -> list[object]:
        uids = None
        if selection.ids:
            found = [await self.resolve(session_id) for session_id in selection.ids]
            uids = [uid for uid in found if uid is not None]
        return [
            uids,
            list(selection.statuses) or None,
            None if selection.reviews is None else list(selection.reviews),
            None if selection.learning_key is None else escape(selection.learning_key),
            None if selection.tenant is None else escape(selection.tenant),
            selection.min_reward,
            selection.max_reward,
            selection.created_from,
            selection.created_until,
        ]

    async def _with_events(self, rows: Sequence[Any], every: bool) -> AsyncGenerator[StoredSession]:
        """The sessions of these rows, in their order; with `every` each as soon as it is whole."""
        sessions = [_stored(row) for row in rows]
        given = 0
        uids, kinds = [row["uid"] for row in rows], None if every else _LOADED
        async with aclosing(self._stream("events", uids, kinds, ahead=True)) as happened:
            async for row in happened:
                place: int = row[0] - 1
                while every and given < place:
                    yield sessions[given]
                    given += 1
                event = StoredEvent._make(row[2:])
                sessions[place].events.append(event)
                if row[1] is not None:
                    sessions[place].payloads[event.seq] = row[1]
        if not every:
            await self._complete(sessions)
        for session in sessions[given:]:
            yield session

    async def _complete(self, sessions: Sequence[StoredSession]) -> None:
        """Load the bodies that loaded ones refer to and that were not loaded, until none is missing."""
        by_id = {session.id: session for session in sessions}
        whole = {(session.id, event.seq) for session in sessions for event in session.events if event.type in _LOADED}
        fresh = [(session.id, payload) for session in sessions for payload in session.payloads.values()]
        while fresh:
            wanted = {place for uid, payload in fresh for place in _referred(uid, payload)} - whole
            rows = await self._rows("payloads", *zip(*wanted, strict=True)) if wanted else []
            for row in rows:
                by_id[str(row["session"])].payloads[row["seq"]] = row["payload"]
            whole |= wanted
            fresh = [(str(row["session"]), row["payload"]) for row in rows]

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[None]:
        """Everything read inside is of one moment. Plans are made for the filters that are really given."""
        with told_as_ours(self._where):
            transaction = self._connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            await self._connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        try:
            yield
        finally:
            with told_as_ours(self._where):
                if not self._connection.is_closed():
                    await transaction.rollback()

    async def _rows(self, name: str, *args: object) -> list[Any]:
        with told_as_ours(self._where):
            return await self._connection.fetch(queries()[name], *args)

    async def _stream(self, name: str, *args: object, ahead: bool = False) -> AsyncGenerator[Any]:
        """The rows of a query, a few at a time; inside a snapshot only.

        With `ahead` the database works on the next rows while these are used; nothing else may be asked meanwhile.
        """
        with told_as_ours(self._where):
            cursor = await self._connection.cursor(queries()[name], *args)
        fetching = asyncio.ensure_future(cursor.fetch(CHUNK))
        try:
            while True:
                with told_as_ours(self._where):
                    rows = await fetching
                if ahead and len(rows) == CHUNK:
                    fetching = asyncio.ensure_future(cursor.fetch(CHUNK))
                    await asyncio.sleep(0)  # The question leaves before the rows are used.
                for row in rows:
                    yield row
                if len(rows) < CHUNK:
                    return
                if not ahead:
                    fetching = asyncio.ensure_future(cursor.fetch(CHUNK))
        finally:
            await asyncio.wait([fetching])  # A reader that stopped early must not leave the connection busy.


def _stored(row: Any) -> StoredSession:
    notes = None if row["review_notes"] is None else unescape(row["review_notes"])
    state = (row["created_at"], row["status"], row["review_status"], notes, row["drift"])
    return StoredSession(str(row["uid"]), *state, [], {})


def _referred(uid: str, payload: str) -> Iterable[tuple[str, int]]:
    """The events that a body needs whole."""
    found = _REFERENCE.findall(payload) if ESC in payload else []
    return [(uid, int(seq)) for seq, said in found if not said]


@contextmanager
def told_as_ours(where: str) -> Generator[None]:
    """A failure of the database, in the house's words."""
    import asyncpg

    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise unavailable(where, error) from error


@asynccontextmanager
async def open_reader(where: str | Path, *, statement_timeout_s: float = 30.0) -> AsyncGenerator[Reader]:
    """Read a database given by its URL, or a project's own: `atlas://.atlas`, or the path of the state folder.

    Raises:
        ConfigError: there is no such folder.
        StoreUnavailable: the database cannot be reached or started.
        StoreError: it holds no sessions of Atlas.
    """
    import asyncpg

    folder = _folder(where)
    own = await _own_server(folder) if folder else None
    url = own.dsn if own else str(where)
    try:
        settings = {
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "default_transaction_read_only": "on",
            "application_name": "atlas export",
            "jit": "off",
        }
        try:
            connection = await asyncpg.connect(url, timeout=10.0, server_settings=settings)
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(address(url), error) from error
        try:
            with told_as_ours(address(url)):
                if await connection.fetchval("SELECT to_regclass('atlas_migrations')") is None:
                    raise StoreError(f"The database {address(url)} holds no sessions of Atlas.", "Check its address.")
            yield Reader(connection, address(url))
        finally:
            await connection.close()
    finally:
        if own is not None:
            await own.close()


def _folder(where: str | Path) -> Path | None:
    """The state folder that is meant, a project's folder being its `.atlas`; None for the URL of a server."""
    if isinstance(where, str) and not where.startswith(SCHEME):
        return None
    folder = Path(str(where).removeprefix(SCHEME))
    folder = folder / ".atlas" if (folder / ".atlas").is_dir() else folder
    if not (folder / "pg").exists():
        raise ConfigError(f"There is no database in {folder}.", "Give postgresql://… or the path of a .atlas folder.")
    return folder


async def _own_server(folder: Path) -> Embedded:
    from atlas.store.embedded import start_embedded

    own = await start_embedded(folder)
    try:
        await Database.prepare(own.dsn)
    except StoreError:
        await own.close()
        raise
    return own
