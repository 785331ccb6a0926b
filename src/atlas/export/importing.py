"""Records that come in: their events are stored as they are, and what a reviewer said elsewhere does not count here."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.config import DriftConfig
from atlas.export.reading import Line, Refused, numbered, parsed
from atlas.export.source import queries, told_as_ours
from atlas.schema import Body, Noun
from atlas.store.boundary import Boundary, Safety, safety_of
from atlas.store.database import Database, RowRefused
from atlas.store.embedded import start_embedded
from atlas.store.open import open_postgres
from atlas.store.pooling import Pool
from atlas.store.postgres import PgStore
from atlas.store.spool import Row, micros
from atlas.store.writer import send

if TYPE_CHECKING:
    import asyncpg

TOGETHER = 32
"""Lines stored at the same time, at most."""
TOGETHER_BYTES = 8_000_000
"""The same in bytes of events, unless one line has more."""
CONNECTIONS = 4
"""Connections that store them."""

Refuse = Callable[[int, str], None]
"""Is told of each refused line: its number, and why."""


class Imported(Noun):
    """What became of the lines so far: lines == stored + refused."""

    lines: int = 0
    """Lines taken."""
    stored: int = 0
    """Lines whose session the store has now."""
    known: int = 0
    """Of those, how many it had before, event by event the same."""
    refused: int = 0
    """Lines that are no record, or another record of a session that the store has."""


class Importer:
    """Stores records; every session it stores is pending review."""

    def __init__(self, store: PgStore, database: Database, connection: asyncpg.Connection, boundary: Boundary) -> None:
        self._store = store
        self._boundary = boundary
        self._database = database
        self._connection = connection
        self._owner = uuid.uuid4()
        self._alone = asyncio.Lock()

    async def take(
        self, name: str, refuse: Refuse, *, progress: Callable[[Imported], None] = lambda _: None
    ) -> Imported:
        """Store the records of a file, `-` being standard input. A line that is refused does not stop the others.

        Raises:
            ConfigError: the file cannot be read.
            StoreUnavailable: the database went away; importing the file again goes on where it stopped.
        """
        told = Imported()
        waiting: dict[uuid.UUID, tuple[int, Line]] = {}
        size = 0
        for number, text in numbered(name):
            try:
                line = parsed(text)
            except Refused as refused:
                refuse(number, str(refused))
                told = _counted(told, refused=1)
                continue
            if len(waiting) == TOGETHER or size > TOGETHER_BYTES or line.uid in waiting:
                told = await self._store_all(list(waiting.values()), refuse, told)
                waiting, size = {}, 0
                progress(told)
            waiting[line.uid] = (number, line)
            size += sum(map(len, line.stored.payloads.values()))
        return await self._store_all(list(waiting.values()), refuse, told)

    async def _store_all(self, lines: Sequence[tuple[int, Line]], refuse: Refuse, told: Imported) -> Imported:
        fates = await asyncio.gather(*(self._store_one(line) for _, line in lines), return_exceptions=True)
        for (number, _), fate in zip(lines, fates, strict=True):
            if isinstance(fate, BaseException):
                raise fate
            if isinstance(fate, str):
                refuse(number, fate)
                told = _counted(told, refused=1)
            else:
                told = _counted(told, known=fate)
        return told

    async def _store_one(self, line: Line) -> bool | str:
        """Whether the session was there before; or why it is refused."""
        bodies, rows = self._clean(line)
        there = await self._database.rows("events", line.uid)
        if there:
            same = [(row["seq"], row["at"], json.loads(row["payload"])) for row in there] == [
                (row.seq, row.at, json.loads(row.payload)) for row in rows
            ]
            return same or f"the store has another record of session {line.uid}"
        try:
            clashes = await send(self._database, rows, self._owner, replay=True)
        except RowRefused as error:
            return error.message
        if clashes:  # Somebody else stored it in between.
            return f"the store has another record of session {line.uid}"
        session = line.session(bodies)
        if session.reward is not None:
            await self._store.commit(session)
        if line.stored.drift is not None:
            async with self._alone:
                await self._execute("drift", line.uid, line.stored.drift)
        return False

    async def _execute(self, name: str, *args: object) -> None:
        with told_as_ours(self._database.address):
            await self._connection.execute(queries()[name], *args)

    def _clean(self, line: Line) -> tuple[list[Body], list[Row]]:
        """What happened as it may be written: as it stands in the file, unless something in it had to go."""
        bodies = line.bodies()
        clean = [self._boundary.noun(body) for body in bodies]
        stored = line.stored
        payloads = [_type_first(event.type, stored.payloads[event.seq]) for event in stored.events]
        if clean != bodies:
            pool = Pool()
            payloads = [pool.encode(event.seq, body) for event, body in zip(stored.events, clean, strict=True)]
        rows = [
            Row(line.uid, event.seq, micros(event.at), payload)
            for event, payload in zip(stored.events, payloads, strict=True)
        ]
        return clean, rows


@asynccontextmanager
async def open_importer(
    where: str | Path, *, folder: Path, statement_timeout_s: float = 30.0, safety: Safety | None = None
) -> AsyncGenerator[Importer]:
    """Store records in the database at a URL, or in a project's own, whose state folder is given instead of one.

    `folder` is the project's state folder in both cases. Without `safety` the defaults of the configuration hold.

    Raises:
        StoreUnavailable: the database cannot be reached or started.
        StoreError: its schema is not ours.
    """
    import asyncpg

    own = await start_embedded(where) if isinstance(where, Path) else None
    url = own.dsn if own else str(where)
    try:
        async with AsyncExitStack() as stack:
            timeout_s, boundary = statement_timeout_s, (safety or safety_of()).boundary
            unwatched = Safety(boundary, DriftConfig(enabled=False))  # Drift was told where the session ran.
            store = await open_postgres(url, folder=folder, statement_timeout_s=timeout_s, safety=unwatched)
            stack.push_async_callback(store.close)
            sizes = (1, CONNECTIONS)
            database = await Database.connect(url, embedded=None, sizes=sizes, statement_timeout_s=timeout_s)
            stack.push_async_callback(database.close)
            with told_as_ours(database.address):
                connection = await asyncpg.connect(url, timeout=10.0)
            stack.push_async_callback(connection.close)
            yield Importer(store, database, connection, boundary)
    finally:
        if own is not None:
            await own.close()


def _type_first(kind: str, payload: str) -> bytes:
    """A body as the store takes it: it reads the type where it stands first."""
    body = {"type": kind, **json.loads(payload)}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _counted(told: Imported, *, refused: int = 0, known: bool = False) -> Imported:
    return Imported(
        lines=told.lines + 1,
        stored=told.stored + 1 - refused,
        known=told.known + known,
        refused=told.refused + refused,
    )
