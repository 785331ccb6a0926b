"""A configured loop with everything it holds open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, TypedDict, Unpack

from atlas.models import Journal, OnText
from atlas.runtime.guest import ELSEWHERE, Guest
from atlas.runtime.loop import Loop, Opening
from atlas.runtime.pauses import Pauses
from atlas.runtime.replaying import Replayed, replay
from atlas.runtime.running import Running
from atlas.runtime.telemetry import EventBus
from atlas.runtime.trace import SessionTrace
from atlas.schema import Background, Event, Lane, Playbook, Recalled, Session, Task, new_id
from atlas.schema.errors import ConfigError
from atlas.schema.events import Answered, Finished, Rewarded, SessionResumed, SessionStarted, ToolCalled
from atlas.store import Store

_ENDS = (SessionStarted, SessionResumed, Answered, Finished, Rewarded)
"""What subscribers hear of a session whose steps are not told."""
DOOR = 64
"""Sessions that enter at a time. Thousands that start in one turn of the event loop would hold it for all others."""


class Closable(Protocol):
    """What a runtime gives back at its end."""

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class _Known(TypedDict, total=False):
    """What a session may begin with instead of finding it out."""

    background: Background
    recalled: tuple[Recalled, Recalled]
    journal: Journal


class Runtime:
    """Starts and resumes sessions; many may run at once on one store pool and one HTTP session."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        bus: EventBus,
        *,
        policy: str,
        tells_steps: bool = True,
        closables: Sequence[Closable] = (),
    ) -> None:
        """`policy` names the models that serve; `tells_steps` is whether subscribers hear of what is in between."""
        self.store = store
        self.bus = bus
        self._loop = loop
        self._policy = policy
        self._closables = closables
        self._publish = bus.publish if tells_steps else self._publish_ends
        self._running: set[Running] = set()
        self._door = asyncio.Semaphore(DOOR)
        self._pauses = Pauses()

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
        return await self._begin(task, lane, dict(metadata or {}), on_text=on_text)

    async def receive(
        self,
        task: Task,
        *,
        policy: str,
        lane: Lane | None = None,
        metadata: Mapping[str, object] | None = None,
        background: Background | None = None,
    ) -> Guest:
        """Begin a session whose student acts elsewhere; it comes back recalled, triaged and routed.

        `policy` names the models that serve it; `background` stands for what the store knows, where it was read before.

        Raises:
            StoreError: the session could not be recorded.
        """
        trace = SessionTrace(new_id(), self.store, self._publish)
        labels = {**(metadata or {}), **ELSEWHERE}
        await trace.record(SessionStarted(task=task, policy=policy, forced=lane, metadata=labels))
        opening = Opening(task=task, trace=trace, forced=lane, background=background, compares=False)
        return Guest(self._loop, opening, *await self._loop.prepare(opening))

    async def resume(self, session_id: str, *, on_text: OnText | None = None) -> Running:
        """Continue an interrupted session; its finished model and tool calls are not paid again.

        Raises:
            ConfigError: no such session, it has its answer already, or another process is at it.
        """
        session = await self._played_here(session_id)
        if session.status == "succeeded":
            raise ConfigError(f"Session {session.id} has its answer already.", f"See: atlas session show {session.id}")
        if session.status != "failed":
            await self.store.interrupted()
            if not await self.store.claim(session.id):
                raise ConfigError(
                    f"Session {session.id} is running elsewhere.", "It can be resumed once that process ends."
                )
        events = await self.store.events(session.id)
        journal = Journal(events)
        trace = SessionTrace(session.id, self.store, self._publish, recorded=events)
        lane = session.route.lane if session.route else None
        await trace.record(SessionResumed(finished_calls=len(journal), lane=lane))
        starts = [event.body for event in events if isinstance(event.body, SessionStarted)]
        forced = starts[0].forced if starts else None
        return self._track(Opening(task=session.task, trace=trace, journal=journal, forced=forced, on_text=on_text))

    async def replay(self, session_id: str) -> Replayed:
        """Play a recorded session again, offline, and hold it against its record.

        Raises:
            ConfigError: no such session, or there is nothing to replay.
        """
        session = await self._played_here(session_id)
        return await replay(self._loop, await self.store.events(session.id), session)

    async def rerun(self, session_id: str, *, playbook_version: int | None = None) -> Running:
        """Play a recorded session's task anew, in the same lane, with one version of the student's playbook.

        None takes the version the session had. It is a session of its own; its metadata names the other.

        Raises:
            ConfigError: no such session, or no such version of its playbook.
        """
        session = await self._known(session_id)
        task = session.task
        wanted = session.student_memory.version if playbook_version is None else playbook_version
        student = await self.store.playbook(task.tenant, task.learning_key, "student", wanted)
        teacher = await self.store.playbook(task.tenant, task.learning_key, "teacher", session.teacher_memory.version)
        if student.version != wanted:
            raise ConfigError(
                f"The playbook of {task.learning_key} has no version {wanted}.",
                f"See: atlas playbook show {task.learning_key}",
            )
        lane = session.route.lane if session.route else None
        background = Background(student=student, teacher=teacher)
        return await self._begin(task, lane, {"rerun_of": session.id}, background=background)

    async def retry(self, source: Session, recalled: tuple[Recalled, Recalled], *, lane: Lane) -> Running:
        """Play a stored session's task anew with exactly these lessons, to measure them; nobody is served by it.

        It is a session of its own, whose label `replay_of` names the other. Tool calls that the other's first try made
        too get their recorded results.

        Raises:
            StoreError: the session could not be recorded, or the other cannot be read.
        """
        used = [event for event in await self.store.events(source.id) if isinstance(event.body, ToolCalled)]
        labels: dict[str, object] = {"replay_of": source.id}
        return await self._begin(source.task, lane, labels, recalled=recalled, journal=Journal(used))

    def preview(self, task: Task, playbook: Playbook) -> Recalled:
        """What a session with this task would see of a playbook's version if chance withheld nothing."""
        return self._loop.memory.preview(task, playbook)

    async def settled(self) -> None:
        """Wait until every session of this runtime is judged and learnt from."""
        await asyncio.gather(*(running.finish() for running in list(self._running)))

    async def close(self) -> None:
        """Settle, flush, and give back the store, the models and the agent."""
        await self.settled()
        for closable in self._closables:
            await closable.close()
        await self.store.close()
        await self.bus.aclose()

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _publish_ends(self, event: Event) -> None:
        if isinstance(event.body, _ENDS):
            self.bus.publish(event)

    async def _known(self, session_id: str) -> Session:
        session = await self.store.session(session_id)
        if session is None:
            raise ConfigError(f"There is no session {session_id}.", "List them with: atlas session list")
        return session

    async def _played_here(self, session_id: str) -> Session:
        session = await self._known(session_id)
        if ELSEWHERE.items() <= session.metadata.items():
            raise ConfigError(
                f"The agent of session {session.id} runs elsewhere.", "Only that agent can go on with it."
            )
        return session

    async def _begin(
        self,
        task: Task,
        lane: Lane | None,
        metadata: dict[str, object],
        *,
        on_text: OnText | None = None,
        **known: Unpack[_Known],
    ) -> Running:
        trace = SessionTrace(new_id(), self.store, self._publish)
        async with self._door:
            await asyncio.sleep(0)  # a recorded event may come back without a wait: those behind the door need a turn
            await trace.record(SessionStarted(task=task, policy=self._policy, forced=lane, metadata=metadata))
        return self._track(Opening(task=task, trace=trace, forced=lane, on_text=on_text, **known))

    def _track(self, opening: Opening) -> Running:
        running = Running(self._loop, opening)
        self._running.add(running)
        self._pauses.crowd(len(self._running))
        running.when_done(lambda: self._left(running))
        return running

    def _left(self, running: Running) -> None:
        self._running.discard(running)
        self._pauses.crowd(len(self._running))
