"""Keeps the garbage collector from stopping a crowd of sessions.

A full collection walks every live object and holds the event loop meanwhile: with 2,000 sessions in flight 0.1-0.2 s,
four times in four seconds, although nearly all of those objects die by reference counting when their session ends.
"""

from __future__ import annotations

import asyncio
import gc

CROWD = 200
"""Sessions in flight above which full collections are postponed; below it a collection is short."""
PERIOD_S = 15.0
"""Seconds between full collections while they are postponed, so that cycles cannot pile up without end."""
_POSTPONED = 1_000_000
"""Added to the threshold of the oldest generation. Added and taken away, never saved and restored, so that several
runtimes in one process, and a user who sets thresholds of his own, do not undo each other."""


class Pauses:
    """Postpones full collections while a crowd is in flight; the young generations are collected as ever."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def crowd(self, in_flight: int) -> None:
        """Say how many sessions are in flight now."""
        if in_flight > CROWD and self._timer is None and gc.isenabled():
            _raise_threshold(_POSTPONED)
            self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._collect)
        elif in_flight <= CROWD // 2 and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            _raise_threshold(-_POSTPONED)

    def _collect(self) -> None:
        gc.collect()
        self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self._collect)


def _raise_threshold(by: int) -> None:
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, old + by)
