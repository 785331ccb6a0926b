"""The record of one running session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from atlas.schema import Body, Event, Session, now, rebuild
from atlas.schema.events import Attempted, Degraded, MemoryRecalled, Planned, Reviewed, Routed, Triaged
from atlas.store import Store

Publish = Callable[[Event], None]
"""Tells subscribers; must not block."""

_REPEATED_ON_RESUME = (Triaged, MemoryRecalled, Routed, Planned, Attempted, Reviewed, Degraded)
"""Bodies that a resumed session comes to again from its journal; they are already on record."""


class SessionTrace:
    """Numbers a session's events, makes each durable, then tells the subscribers."""

    def __init__(self, session_id: str, store: Store, publish: Publish, *, recorded: Sequence[Event] = ()) -> None:
        """`recorded` are the events of an interrupted session that goes on."""
        self._id = session_id
        self._store = store
        self._publish = publish
        self.events: list[Event] = list(recorded)
        self._on_record = Counter(repr(event.body) for event in recorded if isinstance(event.body, _REPEATED_ON_RESUME))

    @property
    def session_id(self) -> str:
        """The session that is recorded."""
        return self._id

    async def record(self, body: Body) -> Event:
        """Append one event; durable on return. What an interrupted run has recorded already is not recorded twice."""
        if self._on_record and isinstance(body, _REPEATED_ON_RESUME):
            key = repr(body)
            if self._on_record[key] > 0:
                self._on_record[key] -= 1
                return next(event for event in self.events if event.body == body)
        event = Event(session_id=self._id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(event)
        await self._store.append([event])
        self._publish(event)
        return event

    def session(self) -> Session:
        """The session as its events tell it so far."""
        return rebuild(self.events)
