"""A configured loop with everything it holds open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

from atlas.models import Journal, OnText
from atlas.runtime.loop import Loop, Opening
from atlas.runtime.running import Running
from atlas.runtime.telemetry import EventBus
from atlas.runtime.trace import SessionTrace
from atlas.schema import Lane, Task, new_id
from atlas.schema.errors import ConfigError
from atlas.schema.events import SessionResumed, SessionStarted
from atlas.store import Store


class Closable(Protocol):
    """What a runtime gives back at its end."""

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class Runtime:
    """Starts and resumes sessions; many may run at once on one store pool and one HTTP session."""

    def __init__(
        self, loop: Loop, store: Store, bus: EventBus, *, policy: str, closables: Sequence[Closable] = ()
    ) -> None:
        self.store = store
        self.bus = bus
        self._loop = loop
        self._policy = policy
        self._closables = closables
        self._running: set[Running] = set()

    async def start(
        self,
        task: Task,
        *,
        lane: Lane | None = None,
        metadata: Mapping[str, object] | None = None,
        on_text: OnText | None = None,
    ) -> Running:
        """Begin a session. The task is durable before anything is spent on it.

        Raises:
            StoreError: the session could not be recorded.
        """
        trace = SessionTrace(new_id(), self.store, self.bus.publish)
        await trace.record(SessionStarted(task=task, policy=self._policy, forced=lane, metadata=dict(metadata or {})))
        return self._track(Opening(task=task, trace=trace, journal=Journal(), forced=lane, on_text=on_text))

    async def resume(self, session_id: str, *, on_text: OnText | None = None) -> Running:
        """Continue an interrupted session; its finished model and tool calls are not paid again.

        Raises:
            ConfigError: no such session, or it has come to its end already.
        """
        session = await self.store.session(session_id)
        if session is None:
            raise ConfigError(f"There is no session {session_id}.", "List them with: atlas session list")
        if session.status == "succeeded":
            raise ConfigError(f"Session {session.id} has its answer already.", f"See: atlas session show {session.id}")
        events = await self.store.events(session.id)
        journal = Journal(events)
        trace = SessionTrace(session.id, self.store, self.bus.publish, recorded=events)
        await trace.record(SessionResumed(finished_calls=len(journal)))
        starts = [event.body for event in events if isinstance(event.body, SessionStarted)]
        forced = starts[0].forced if starts else None
        return self._track(Opening(task=session.task, trace=trace, journal=journal, forced=forced, on_text=on_text))

    async def settled(self) -> None:
        """Wait until every session of this runtime is judged and learnt from."""
        await asyncio.gather(*(running.finish() for running in list(self._running)))

    async def close(self) -> None:
        """Settle, flush, and give back the store, the models and the agent."""
        await self.settled()
        for closable in self._closables:
            await closable.close()
        await self.store.close()

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _track(self, opening: Opening) -> Running:
        running = Running(self._loop, opening)
        self._running.add(running)
        running.when_done(lambda: self._running.discard(running))
        return running
