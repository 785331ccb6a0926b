"""The way of one session, readable top to bottom."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from atlas.judges import Rewarder
from atlas.lanes import LanePlay
from atlas.memory import Memory, withdrawn
from atlas.models import Caller, Journal, OnText
from atlas.roles import Scene
from atlas.runtime.comparing import Bounds, Comparing
from atlas.runtime.desk import TriageDesk
from atlas.runtime.trace import SessionTrace
from atlas.schema import Background, Lane, Playbook, Recalled, Route, Session, Task
from atlas.schema.errors import BudgetError, JudgeError, ModelError, StaleVersion, StoreError
from atlas.schema.events import Answered, Degraded, Failure, Finished, LearningFailed, Learnt, MemoryRecalled
from atlas.store import Store
from atlas.triage import Known

ROLLBACK = "rollback"
"""How the origin of a version begins that took lessons back."""
CAS_TRIES = 100
"""Compare-and-swaps on one playbook before learning gives up: many processes may learn on one key at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session."""

    session_timeout_s: float = 1800.0
    """Seconds from start to answer."""
    call_timeout_s: float = 300.0
    """Seconds of one model or tool call."""
    max_tokens: int | None = None
    """Tokens of all roles together until the answer; None is unbounded."""
    history: int = 50
    """Outcomes of the key that are read."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A session about to be played."""

    task: Task
    """What is asked."""
    trace: SessionTrace
    """Where it is recorded."""
    journal: Journal = field(default_factory=Journal)
    """Finished calls, when it is resumed."""
    forced: Lane | None = None
    """A lane the caller asks for."""
    background: Background | None = None
    """Playbooks and history to go by instead of the newest."""
    recalled: tuple[Recalled, Recalled] | None = None
    """What student and teacher see, where memory is not to choose."""
    on_text: OnText | None = None
    """Receives the student's words while they stream."""
    compares: bool = True
    """Whether the student can be asked once more; not where it acts elsewhere."""


class Loop:
    """Memory, triage, lanes, judges and store, in the order a session meets them."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        *,
        triage: TriageDesk,
        lanes: Mapping[Lane, LanePlay],
        judges: Rewarder,
        limits: Limits,
    ) -> None:
        self._store = store
        self.memory = memory
        self._triage = triage
        self._lanes = lanes
        self._judges = judges
        self._limits = limits
        bounds = Bounds(timeout_s=limits.call_timeout_s, max_tokens=limits.max_tokens)
        self._comparing = Comparing(lanes, judges, memory, store, bounds=bounds)

    async def play(self, opening: Opening) -> Session:
        """Take the task to its answer. Nothing but the lane stands between the caller and the answer."""
        trace = opening.trace
        scene, route = await self.prepare(opening)
        played = await self._lanes[route.lane].play(scene)
        await trace.record(Answered(answer=played.answer, accepted=played.accepted))
        await trace.record(Finished(status="succeeded"))
        return trace.session()

    async def prepare(self, opening: Opening) -> tuple[Scene, Route]:
        """What comes before the lane: memory, triage and routing, each on record."""
        task, trace = opening.task, opening.trace
        limits = self._limits
        deadline = time.monotonic() + limits.session_timeout_s
        caller = Caller(
            trace,
            journal=opening.journal,
            deadline=deadline,
            max_tokens=limits.max_tokens,
            call_timeout_s=limits.call_timeout_s,
        )
        background = opening.background or await self._background(task, trace)
        student, teacher = self._recalled(opening, background)
        await trace.record(MemoryRecalled(student=student, teacher=teacher))
        known = Known(outcomes=background.outcomes, arms=student.arms)
        route = await self._triage.route(task, known, caller, forced=opening.forced)
        return Scene(task, student, teacher, caller, opening.on_text, bound=route.source == "forced"), route

    async def settle(self, task: Task, trace: SessionTrace, journal: Journal) -> Session:
        """Judge the answered session, play its control, learn, commit. Runs after the caller has the answer."""
        caller = Caller(trace, journal=journal, call_timeout_s=self._limits.call_timeout_s)
        reward = await self._judges.reward(trace.session(), caller)
        if reward.barred is not None:
            failure = Failure.of(JudgeError(reward.barred, "See: atlas judge attack"))
            await trace.record(LearningFailed(failure=failure))
            await self._commit_unlearnt(trace)
            return trace.session()
        try:
            await self._comparing.compare(trace.session(), trace, trace.events)
            await self._learn(task, trace, caller)
        except (ModelError, BudgetError, StoreError) as error:
            await trace.record(LearningFailed(failure=Failure.of(error)))
            await self._commit_unlearnt(trace)
        return trace.session()

    async def _background(self, task: Task, trace: SessionTrace) -> Background:
        try:
            return await self._store.background(task.tenant, task.learning_key, limit=self._limits.history)
        except StoreError as error:
            await trace.record(Degraded(what="no memory and no history", failure=Failure.of(error)))
            return nothing_known(task)

    def _recalled(self, opening: Opening, background: Background) -> tuple[Recalled, Recalled]:
        for event in opening.trace.events:
            if isinstance(event.body, MemoryRecalled):
                return event.body.student, event.body.teacher
        if opening.recalled is not None:
            return opening.recalled
        student, teacher = self.memory.recall(opening.task, background, opening.trace.session_id)
        if opening.compares:
            return student, teacher
        return student.model_copy(update={"compared": None}), teacher.model_copy(update={"compared": None})

    async def _learn(self, task: Task, trace: SessionTrace, caller: Caller) -> None:
        """Learn against the newest playbooks; when somebody else wrote meanwhile, once more against theirs.

        The curator is paid once: a second round takes its word from the session's own record.
        """
        session = trace.session()
        for _ in range(CAS_TRIES):
            background = await self._store.background(task.tenant, task.learning_key, limit=self._limits.history)
            made = await self.memory.learn(session, background, caller)
            playbooks = [await self._guarded(playbook) for playbook in made]
            try:
                await self._store.commit(trace.session(), playbooks)
            except StaleVersion:
                caller = Caller(trace, journal=Journal(trace.events), call_timeout_s=self._limits.call_timeout_s)
                continue
            for playbook in playbooks:
                await trace.record(learnt(playbook, background))
            return
        raise StaleVersion(f"Key {task.learning_key} changed {CAS_TRIES} times while this session learnt.")

    async def _guarded(self, playbook: Playbook) -> Playbook:
        """The new version; where its lessons harm together, one without those of the last change."""
        why = self.memory.harm(playbook)
        if why is None:
            return playbook
        before = await self._store.playbook(
            playbook.tenant, playbook.key, playbook.audience, max(0, playbook.since - 1)
        )
        return withdrawn(playbook, before, why)

    async def _commit_unlearnt(self, trace: SessionTrace) -> None:
        """The reward is kept even when nothing could be learnt; a store that is away gets it from the events later."""
        try:
            await self._store.commit(trace.session())
        except StoreError as error:
            await trace.record(Degraded(what="the reward waits in the spool", failure=Failure.of(error)))


def nothing_known(task: Task) -> Background:
    """The background of a key without memory."""
    return Background(
        student=Playbook(key=task.learning_key, tenant=task.tenant, audience="student"),
        teacher=Playbook(key=task.learning_key, tenant=task.tenant, audience="teacher"),
    )


def learnt(playbook: Playbook, background: Background) -> Learnt:
    """What a new playbook version changed, for the record."""
    before = background.student if playbook.audience == "student" else background.teacher
    states = {entry.id: entry.state for entry in before.entries}
    return Learnt(
        audience=playbook.audience,
        version=playbook.version,
        added=tuple(entry.id for entry in playbook.entries if entry.id not in states),
        changed=tuple(
            f"{entry.id}:{entry.state}"
            for entry in playbook.entries
            if entry.id in states and states[entry.id] != entry.state
        ),
        rolled_back=playbook.origin.partition(": ")[2] if playbook.origin.startswith(ROLLBACK) else "",
    )
