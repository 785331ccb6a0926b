"""Playbooks and outcomes at hand, so that no call waits for the database: read once, renewed behind the calls."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from atlas.runtime.loop import nothing_known
from atlas.schema import Background, Failure, Task
from atlas.schema.errors import StoreError, StoreUnavailable
from atlas.store import Store

FRESH_S = 5.0
"""Age from which on what is at hand is renewed."""
PATIENCE_S = 0.4
"""How long the first call of a key waits for it."""
MOST_KEYS = 10_000
"""Keys of which something is at hand."""
Where = tuple[str, str]


class Known(NamedTuple):
    """What is at hand for one tenant and key."""

    background: Background
    """Playbooks and outcomes."""
    failure: Failure | None
    """Why it is empty, where it could not be read."""
    read_at: float
    """By `time.monotonic()`."""


class Shelf:
    """What the store knows, by tenant and key."""

    def __init__(self, store: Store, *, history: int) -> None:
        """`history` is the number of outcomes that are read."""
        self._store = store
        self._history = history
        self._known: dict[Where, Known] = {}
        self._reading: dict[Where, asyncio.Task[None]] = {}

    async def known(self, task: Task) -> Known:
        """What is known, a few seconds old at most while the store is up; nothing where it cannot be read in time."""
        where = (task.tenant, task.learning_key)
        found = self._known.get(where)
        if found is not None and time.monotonic() - found.read_at < FRESH_S:
            return found
        reading = self._read(task)
        if found is None:
            await asyncio.wait([reading], timeout=PATIENCE_S)
            slow = StoreUnavailable(f"The store did not answer within {PATIENCE_S} s.")
            found = self._known.setdefault(where, Known(nothing_known(task), Failure.of(slow), time.monotonic()))
        return found

    def renew(self, task: Task) -> None:
        """Something was learnt: read it anew."""
        self._read(task)

    async def close(self) -> None:
        """Stop reading."""
        readings = list(self._reading.values())
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    def _read(self, task: Task) -> asyncio.Task[None]:
        where = (task.tenant, task.learning_key)
        if where not in self._reading:
            self._reading[where] = asyncio.create_task(self._fetch(task, where))
            self._reading[where].add_done_callback(lambda _: self._reading.pop(where, None))
        return self._reading[where]

    async def _fetch(self, task: Task, where: Where) -> None:
        try:
            found, failure = await self._store.background(*where, limit=self._history), None
        except StoreError as error:
            before = self._known.get(where)
            found, failure = before.background if before else nothing_known(task), Failure.of(error)
        if len(self._known) >= MOST_KEYS:  # clients name keys; what is read again is all that is lost
            self._known.clear()
        self._known[where] = Known(found, failure, time.monotonic())
