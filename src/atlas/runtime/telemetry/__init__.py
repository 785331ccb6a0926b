"""Watching sessions: a console streamer, and events for whoever subscribes.

from atlas.runtime.telemetry import subscribe

subscription = subscribe(lambda event: print(event.body.type))
"""

from __future__ import annotations

from collections.abc import Callable

from atlas.runtime.telemetry.bus import CAPACITY, EVERYWHERE, EventBus, EventStream, Subscription
from atlas.runtime.telemetry.console import ConsoleTelemetryStreamer
from atlas.runtime.telemetry.words import json_line, line, safe
from atlas.schema import Event

__all__ = [
    "EVERYWHERE",
    "ConsoleTelemetryStreamer",
    "EventBus",
    "EventStream",
    "Subscription",
    "json_line",
    "line",
    "safe",
    "stream",
    "subscribe",
]


def subscribe(callback: Callable[[Event], object], *, capacity: int = CAPACITY) -> Subscription:
    """Call back for each event of every session in this process, in a thread of its own, until `close()`."""
    return EVERYWHERE.subscribe(callback, capacity=capacity)


def stream(*, capacity: int = CAPACITY) -> EventStream:
    """Each event of every session in this process, as an async iterator for the running loop."""
    return EVERYWHERE.stream(capacity=capacity)
