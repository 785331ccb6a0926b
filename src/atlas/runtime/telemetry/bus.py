"""Events to whoever listens. Publishing never waits, never raises, and never runs a subscriber's code."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from atlas.schema import Event

L = TypeVar("L")

CAPACITY = 10_000
"""Events that wait for one subscriber; beyond it the oldest are dropped and counted."""

_log = logging.getLogger("atlas.telemetry")


class Mailbox(Generic[L]):
    """What waits for one subscriber: bounded, the oldest goes first when it is full."""

    def __init__(self, capacity: int) -> None:
        self.taken = 0
        self.dropped = 0
        self._capacity = capacity
        self._waiting: deque[L] = deque()

    def put(self, letter: L) -> None:
        """Add one letter; the caller holds the lock."""
        self.taken += 1
        if len(self._waiting) >= self._capacity:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(letter)

    def get(self) -> L | None:
        """The oldest letter, if there is one; the caller holds the lock."""
        return self._waiting.popleft() if self._waiting else None


class _Listener(Protocol):
    def offer(self, event: Event) -> None: ...

    def end(self, timeout_s: float) -> None: ...


class Subscription:
    """A callback in a thread of its own. A slow one misses events, a raising one is told once.

    It runs in a copy of the publisher's context, so that it sees the tracing span that was current in the session.
    """

    def __init__(
        self, callback: Callable[[Event], object], *, capacity: int, on_end: Callable[[], object] | None, bus: EventBus
    ) -> None:
        self.failures = 0
        self._callback = callback
        self._on_end = on_end
        self._bus = bus
        self._mailbox: Mailbox[tuple[Event, contextvars.Context]] = Mailbox(capacity)
        self._ready = threading.Condition()
        self._ended = False
        self._handled = 0
        self._thread = threading.Thread(target=self._run, name="atlas-subscriber", daemon=True)
        self._thread.start()
        _open.add(self)

    @property
    def dropped(self) -> int:
        """Events that the callback never saw because it was slow."""
        return self._mailbox.dropped

    def offer(self, event: Event) -> None:
        """Leave an event for the thread."""
        with self._ready:
            if not self._ended:
                self._mailbox.put((event, contextvars.copy_context()))
                self._ready.notify_all()

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until the callback has seen what was published so far; False when it did not in `timeout_s` seconds."""
        with self._ready:
            wanted = self._mailbox.taken
            return self._ready.wait_for(lambda: self._handled + self._mailbox.dropped >= wanted, timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop listening. What waits is still delivered, for at most `timeout_s` seconds."""
        self._bus.forget(self)
        self.end(timeout_s)

    def end(self, timeout_s: float) -> None:
        """Deliver what waits, stop, and tell what was lost."""
        with self._ready:
            if self._ended:
                return
            self._ended = True
            self._ready.notify_all()
        _open.discard(self)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        tell_loss(self._mailbox)

    def _run(self) -> None:
        while (letter := self._next()) is not None:
            event, context = letter
            self._call(lambda event=event, context=context: context.run(self._callback, event))
            with self._ready:
                self._handled += 1
                self._ready.notify_all()
        if self._on_end is not None:
            self._call(self._on_end)

    def _next(self) -> tuple[Event, contextvars.Context] | None:
        with self._ready:
            while True:
                letter = self._mailbox.get()
                if letter is not None or self._ended:
                    return letter
                self._ready.wait()

    def _call(self, code: Callable[[], object]) -> None:
        try:
            code()
        except Exception as error:  # the boundary to the subscriber's own code: told once, counted, and on it goes
            self.failures += 1
            if self.failures == 1:
                _log.warning("An event subscriber raised %s: %s", type(error).__name__, error)


_open: weakref.WeakSet[Subscription] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """At the interpreter's end what waits is still delivered; exit handlers registered later have run by then."""
    for subscription in list(_open):
        subscription.close()


class EventStream:
    """Events as an async iterator of the loop it was made in; it ends with the bus or with `close`."""

    def __init__(self, *, capacity: int, bus: EventBus) -> None:
        self._bus = bus
        self._mailbox: Mailbox[Event] = Mailbox(capacity)
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._called = False
        self._ended = False

    @property
    def dropped(self) -> int:
        """Events that were never seen because the reader was slow."""
        return self._mailbox.dropped

    def offer(self, event: Event) -> None:
        """Leave an event, from any thread."""
        with self._lock:
            if self._ended:
                return
            self._mailbox.put(event)
        self._call_reader()

    def close(self) -> None:
        """Stop listening; what waits can still be read."""
        self._bus.forget(self)
        self.end(0.0)

    def end(self, timeout_s: float) -> None:
        """No further events come. There is nothing to wait for: the reader takes what waits in its own time."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._call_reader()
        tell_loss(self._mailbox)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        while True:
            with self._lock:
                event = self._mailbox.get()
                if event is not None:
                    return event
                if self._ended:
                    raise StopAsyncIteration
                self._called = False
                self._wake.clear()
            await self._wake.wait()

    def _call_reader(self) -> None:
        with self._lock:
            if self._called:
                return
            self._called = True
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the reader's loop is gone, and the reader with it
            self._bus.forget(self)


def tell_loss(mailbox: Mailbox[L]) -> None:
    """Say at the end how much a subscriber missed."""
    if mailbox.dropped:
        _log.warning("A slow event subscriber missed %d of %d events.", mailbox.dropped, mailbox.taken)


class EventBus:
    """Takes each recorded event and leaves it for every subscriber."""

    def __init__(self, *, parent: EventBus | None = None) -> None:
        """Events go on to `parent` as well; the process's own bus hears of every runtime that way."""
        self._parent = parent
        self._lock = threading.Lock()
        self._listeners: tuple[_Listener, ...] = ()

    def publish(self, event: Event) -> None:
        """Leave the event for all subscribers, from any thread."""
        for listener in self._listeners:
            listener.offer(event)
        if self._parent is not None:
            self._parent.publish(event)

    def subscribe(
        self,
        callback: Callable[[Event], object],
        *,
        capacity: int = CAPACITY,
        on_end: Callable[[], object] | None = None,
    ) -> Subscription:
        """Call back for each event from now on, in order, in a thread of its own; `on_end` after the last one."""
        subscription = Subscription(callback, capacity=capacity, on_end=on_end, bus=self)
        self._add(subscription)
        return subscription

    def stream(self, *, capacity: int = CAPACITY) -> EventStream:
        """Each event from now on, as an async iterator for the running loop."""
        stream = EventStream(capacity=capacity, bus=self)
        self._add(stream)
        return stream

    def forget(self, listener: object) -> None:
        """Leave nothing more for this subscriber."""
        with self._lock:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

    def close(self, timeout_s: float = 2.0) -> None:
        """End every subscription; a callback that hangs is left behind after `timeout_s` seconds."""
        with self._lock:
            listeners, self._listeners = self._listeners, ()
        for listener in listeners:
            listener.end(timeout_s)

    async def aclose(self, timeout_s: float = 2.0) -> None:
        """As `close`, without blocking the running loop."""
        await asyncio.to_thread(self.close, timeout_s)

    def _add(self, listener: _Listener) -> None:
        with self._lock:
            self._listeners = (*self._listeners, listener)


EVERYWHERE = EventBus()
"""Hears the events of every runtime of this process whose bus has it as parent."""
