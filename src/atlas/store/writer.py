"""From the spool to the database: batches on two lanes, in order within a session, until the database has them.

An event counts as accepted once it is in the spool. Then it is stored, or refused by the database for good and kept in
`refused.jsonl`, or it waits; while the database is away everything waits, and nothing blocks anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from atlas.schema.errors import StoreError
from atlas.store.base import Flushed
from atlas.store.database import Database, RowRefused
from atlas.store.spool import Row, Slot, Spool

log = logging.getLogger("atlas.store")

LANES = 2
"""Connections that write at the same time; a session always takes the same one."""
BATCH_ROWS = 500
"""Events in one batch, at most."""
BATCH_BYTES = 4_000_000
"""Payload of one batch, unless a single event is larger."""
BREATH_ROWS = 50
"""Appended rows after which the event loop gets a turn."""
LINGER_S = 0.02
"""How long the first event of a batch waits for others."""
MEMORY_BYTES = 64_000_000
"""Beyond this, waiting payloads are dropped from memory and read back from the spool."""
BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Pauses between tries while the database is away."""
PROJECTED = (b"finished", b"session_resumed")
"""Types of events that change their session's row."""
DAY_MS = 86_400_000
LEASE_S = 15.0
"""A running session whose process has not renewed its lease for so long is interrupted."""


class _Waiting:
    """A row in the spool that the database has not taken yet."""

    __slots__ = ("row", "session", "size", "slot")

    def __init__(self, row: Row | None, slot: Slot, session: uuid.UUID) -> None:
        self.row = row
        self.slot = slot
        self.session = session
        self.size = slot.length

    def load(self) -> Row:
        return self.row or self.slot.read()


class _Lane:
    """One queue with its own connection."""

    def __init__(self) -> None:
        self.queue: deque[_Waiting] = deque()
        self.work = asyncio.Event()
        self.hurry = asyncio.Event()
        self.accepted = 0
        self.settled = 0
        self.changed = asyncio.Event()

    def take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        for item in self.queue:
            size += item.size
            if batch and (len(batch) == BATCH_ROWS or size > BATCH_BYTES):
                break
            batch.append(item)
        return batch

    def settle(self, count: int) -> None:
        for _ in range(count):
            self.queue.popleft()
        self.settled += count
        if not self.queue:
            self.work.clear()
            self.hurry.clear()
        self.changed.set()
        self.changed = asyncio.Event()


class Writer:
    """Takes rows of one process and carries them to the database."""

    def __init__(self, database: Database, folder: Path) -> None:
        """Raises StoreError where the spool's folder cannot be written."""
        self.owner = uuid.uuid4()
        self._database = database
        self._spool = Spool(folder, str(self.owner))
        self._lanes = [_Lane() for _ in range(LANES)]
        self._stored = 0
        self._refused = 0
        self._in_memory = 0
        self._unbroken = 0
        self._away_since: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to carry and to renew the lease."""
        self._tasks = [asyncio.create_task(self._carry(lane)) for lane in self._lanes]
        self._tasks.append(asyncio.create_task(self._keep_lease()))
        for task in self._tasks:
            task.add_done_callback(_tell_of_end)

    async def append(self, rows: Sequence[Row]) -> None:
        """Take rows; on return a kill -9 of this process loses none of them.

        Raises:
            StoreError: the spool could not take them.
        """
        for row, slot in zip(rows, self._spool.append(rows), strict=True):
            lane = self._lanes[row.session.int % LANES]
            if self._in_memory < MEMORY_BYTES:
                self._in_memory += slot.length
                lane.queue.append(_Waiting(row, slot, row.session))
            else:
                lane.queue.append(_Waiting(None, slot, row.session))
            lane.accepted += 1
            backlog = len(lane.queue)
            if backlog == 1:
                lane.work.set()
            elif backlog >= BATCH_ROWS:
                lane.hurry.set()
        self._unbroken += len(rows)
        if self._unbroken >= BREATH_ROWS:
            self._unbroken = 0
            await asyncio.sleep(0)  # A caller that appends without pause lets the lanes breathe.

    def waiting(self, session: uuid.UUID) -> list[Row]:
        """Rows of a session that the database does not have yet."""
        return [item.load() for item in self._lane(session).queue if item.session == session]

    def waiting_sessions(self) -> set[uuid.UUID]:
        """Sessions of which some rows still wait."""
        return {item.session for lane in self._lanes for item in lane.queue}

    async def flush(self, timeout_s: float) -> Flushed:
        """Wait until what was accepted so far is settled, or the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        for lane in self._lanes:
            goal = lane.accepted
            while lane.settled < goal:
                lane.hurry.set()
                left = deadline - asyncio.get_running_loop().time()
                try:
                    await asyncio.wait_for(lane.changed.wait(), max(left, 0.0))
                except TimeoutError:
                    break
        return self.told()

    def told(self) -> Flushed:
        """The counts at this moment."""
        return Flushed(
            accepted=sum(lane.accepted for lane in self._lanes),
            stored=self._stored,
            refused=self._refused,
            waiting=sum(len(lane.queue) for lane in self._lanes),
        )

    async def renew(self) -> None:
        """Renew this process's lease and mark the running sessions of dead ones as interrupted.

        Raises:
            StoreError: the database is away.
        """
        await self._database.rows("renew", self.owner, socket.gethostname(), os.getpid(), LEASE_S)
        today = int(time.time() * 1000) // DAY_MS
        self._database.days = {today, today + 1}  # Renewing made their partitions; an older one may be gone.

    def give_up(self) -> None:
        """Give the spool back without having started."""
        self._spool.close()

    async def close(self, timeout_s: float) -> Flushed:
        """Flush, stop, and leave what still waits in the spool for whoever opens the store next."""
        told = await self.flush(timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            await self._database.rows("release", self.owner)
        except StoreError as error:  # The lease then runs out by itself.
            log.warning("The lease could not be given back: %s", error)
        self._spool.close()
        if told.waiting:
            log.warning("%d events wait in the spool until the store is opened again.", told.waiting)
        return told

    def _lane(self, session: uuid.UUID) -> _Lane:
        return self._lanes[session.int % LANES]

    async def _carry(self, lane: _Lane) -> None:
        while True:
            await lane.work.wait()
            if len(lane.queue) < BATCH_ROWS:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(lane.hurry.wait(), LINGER_S)
            lane.hurry.clear()
            await self._deliver(lane, lane.take())

    async def _deliver(self, lane: _Lane, batch: list[_Waiting]) -> None:
        """Carry a batch until each of its rows is settled."""
        tries = 0
        while batch:
            try:
                refused = await self._offer([item.load() for item in batch], replay=tries > 0)
                if refused is None:
                    middle = len(batch) // 2
                    await self._deliver(lane, batch[:middle])
                    batch = batch[middle:]
                    continue
                self._settle(lane, batch, refused)
            except StoreError as error:
                await self._wait_for_database(error, tries)
                tries += 1
            else:
                self._came_back()
                return

    async def _offer(self, rows: list[Row], *, replay: bool) -> dict[int, str] | None:
        """Send rows; why those at which positions, from 1, are refused. None where one of several is at fault."""
        try:
            clashes = await send(self._database, rows, self.owner, replay=replay)
        except RowRefused as error:
            return {1: str(error)} if len(rows) == 1 else None
        return dict.fromkeys(clashes, "Another event has its place in the session.")

    def _settle(self, lane: _Lane, batch: list[_Waiting], refused: dict[int, str]) -> None:
        for position, reason in refused.items():
            self._spool.refuse(batch[position - 1].load(), reason)
        self._refused += len(refused)
        self._stored += len(batch) - len(refused)
        self._in_memory -= sum(item.size for item in batch if item.row is not None)
        lane.settle(len(batch))
        self._spool.done([item.slot for item in batch])

    async def _wait_for_database(self, error: StoreError, tries: int) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("Events wait in the spool: %s", error)
        await asyncio.sleep(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
        try:
            await self._database.revive()
        except StoreError as still_away:
            log.debug("The server does not start: %s", still_away)

    def _came_back(self) -> None:
        if self._away_since is not None:
            log.warning("The database is back after %.1f s.", time.monotonic() - self._away_since)
            self._away_since = None

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            try:
                await self.renew()
            except StoreError as error:  # The lanes report an absent database.
                log.debug("The lease was not renewed: %s", error)


def _tell_of_end(task: asyncio.Task[None]) -> None:
    """Nothing that the database says ends a task of the writer; a mistake of ours must not do so in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("The writer stopped; its events wait in the spool.", exc_info=error)


async def send(database: Database, rows: Sequence[Row], owner: uuid.UUID, *, replay: bool) -> list[int]:
    """Store rows in one round trip; the positions, from 1, of those whose place another event holds.

    Raises:
        RowRefused: at least one of them cannot be stored.
        StoreUnavailable: the database is away; sending them again is harmless.
    """
    starts: list[int] = []
    touched: set[uuid.UUID] = set()
    for position, row in enumerate(rows, start=1):
        kind = row.type
        if kind == b"session_started":
            starts.append(position)
        elif kind in PROJECTED or (replay and kind == b"rewarded"):
            touched.add(row.session)
    await _make_weeks(database, [rows[position - 1].session for position in starts])
    sessions, seqs, moments, payloads = zip(*rows, strict=True)
    texts = [payload.decode() for payload in payloads]
    return await database.value("append", sessions, seqs, moments, texts, starts, list(touched), owner, replay) or []


async def _make_weeks(database: Database, begun: Sequence[uuid.UUID]) -> None:
    """Make the partitions that sessions which began need, unless that was done. Ids of other versions tell no time."""
    days = {(session.int >> 80) // DAY_MS for session in begun if session.version in (7, 8)}
    if not days <= database.days:
        await database.rows("weeks", begun)
        database.days |= days
