"""One task done once more without a lesson, or with it where it was withheld: the control of one session.

Nobody waits for it, its answer goes to nobody, and what it costs is on the session's record under the actor `control`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlas.judges import Rewarder
from atlas.lanes import LanePlay
from atlas.memory import Memory, outcome
from atlas.models import Caller, Journal
from atlas.roles import Scene
from atlas.schema import Attempt, Body, Event, Lane, Recalled, Review, Session, Trace, now
from atlas.schema.errors import AtlasError, JudgeError, StoreError
from atlas.schema.events import (
    Attempted,
    Compared,
    Degraded,
    Failure,
    ModelCalled,
    ModelFailed,
    Reviewed,
    ToolCalled,
    ToolStarted,
)
from atlas.store import Store

CONTROL_ATTEMPT = 0
"""The attempt that calls of a control are recorded under."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a control."""

    timeout_s: float
    """Seconds of one model or tool call."""
    max_tokens: int | None
    """Tokens of all its calls together; None is unbounded."""


class ControlTrace:
    """Passes a control's calls on to the session's record, marked as such, and keeps its work to itself."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.attempts: list[Attempt] = []
        self.reviews: list[Review] = []

    @property
    def session_id(self) -> str:
        """The session whose control it is."""
        return self._trace.session_id

    async def record(self, body: Body) -> Event:
        """Record a call; keep an attempt or a review; let the rest go.

        Raises:
            StoreError: neither the store nor its local spool could take it.
        """
        match body:
            case ModelCalled() | ModelFailed():
                marks = {"actor": "control", "purpose": "control", "attempt": CONTROL_ATTEMPT}
                return await self._trace.record(body.model_copy(update=marks))
            case ToolStarted() | ToolCalled():
                return await self._trace.record(body.model_copy(update={"attempt": CONTROL_ATTEMPT}))
            case Attempted(attempt=attempt):
                self.attempts.append(attempt)
            case Reviewed(review=review):
                self.reviews.append(review)
            case _:
                pass
        return Event(session_id=self.session_id, seq=0, at=now(), body=body)


class Comparing:
    """Plays the control of a session and says what it came to."""

    def __init__(
        self, lanes: Mapping[Lane, LanePlay], judges: Rewarder, memory: Memory, store: Store, *, bounds: Bounds
    ) -> None:
        self._lanes = lanes
        self._judges = judges
        self._memory = memory
        self._store = store
        self._bounds = bounds

    async def compare(self, session: Session, trace: Trace, events: Sequence[Event]) -> None:
        """Play the session's control, where its memory chose one, and record what it came to.

        A student's lesson is measured on a first try alone, a teacher's on the session's lane. Where the control fails
        or has no reward that is recorded, and the session counts without a comparison.

        Raises:
            StoreError: the record could not be written, or a withheld lesson could not be read.
        """
        recalled = _chosen(session)
        if recalled is None or session.compared is not None or session.reward is None or session.reward.value is None:
            return
        other = await self._other(session, recalled)
        if other is None:
            return
        shown = recalled.compared in {entry.id for entry in recalled.shown}
        subject = {"entry_id": recalled.compared or "", "shown": shown or recalled.against is not None}
        try:
            value = await self._played(session, other, trace, events)
            served = await self._first_try(session, recalled, trace, events)
        except StoreError:
            raise
        except AtlasError as error:
            what = f"no control for lesson {recalled.compared}" if recalled.compared else "no control"
            await trace.record(Degraded(what=what, failure=Failure.of(error)))
            return
        told = {
            "audience": recalled.audience,
            "against": recalled.against,
            "outcome": value,
            "served": served,
            **subject,
        }
        await trace.record(Compared.model_validate(told))

    async def _other(self, session: Session, recalled: Recalled) -> Recalled | None:
        """What the second time sees; the words of a withheld lesson are in the version the session ran with."""
        task = session.task
        if recalled.against is not None:
            book = await self._store.playbook(task.tenant, task.learning_key, recalled.audience, recalled.against)
            return self._memory.preview(task, book)
        rest = tuple(entry for entry in recalled.shown if entry.id != recalled.compared)
        if len(rest) < len(recalled.shown):
            return recalled.model_copy(update={"shown": rest})
        book = await self._store.playbook(task.tenant, task.learning_key, recalled.audience, recalled.version)
        found = tuple(entry for entry in book.entries if entry.id == recalled.compared)
        return recalled.model_copy(update={"shown": (*rest, *found)}) if found else None

    def _caller(self, control: ControlTrace, events: Sequence[Event]) -> Caller:
        return Caller(
            control,
            journal=Journal(event for event in events if _reusable(event)),
            max_tokens=self._bounds.max_tokens,
            call_timeout_s=self._bounds.timeout_s,
        )

    async def _first_try(
        self, session: Session, recalled: Recalled, trace: Trace, events: Sequence[Event]
    ) -> float | None:
        """A student's first try under review, read by the judges as the second time was: a teacher's word on the one
        and a judge's on the other would differ without any lesson. None where the session says it already."""
        supervised = session.route is not None and session.route.lane != "auto"
        known = session.reward is not None and any(step.attempt == 1 for step in session.reward.steps)
        if recalled.audience != "student" or not supervised or known:
            return None
        first = session.attempts[0]
        alone = session.model_copy(
            update={"attempts": (first,), "reviews": (), "answer": first.output, "accepted": None, "reward": None}
        )
        return await self._value(alone, recalled, self._caller(ControlTrace(trace), events))

    async def _value(self, session: Session, recalled: Recalled, caller: Caller) -> float:
        reward = await self._judges.reward(session, caller)
        value = outcome(session.model_copy(update={"reward": reward}), recalled.audience)
        if value is None:
            raise JudgeError(f"The control of session {session.id} has no reward.", reward.reason)
        return value

    async def _played(self, session: Session, recalled: Recalled, trace: Trace, events: Sequence[Event]) -> float:
        control = ControlTrace(trace)
        caller = self._caller(control, events)
        audience = recalled.audience
        lane: Lane = "auto" if audience == "student" or session.route is None else session.route.lane
        seen = session.model_copy(update={f"{audience}_memory": recalled})
        scene = Scene(session.task, seen.student_memory, seen.teacher_memory, caller)
        played = await self._lanes[lane].play(scene)
        work = {"attempts": tuple(control.attempts), "reviews": tuple(control.reviews), "answer": played.answer}
        done = seen.model_copy(update={**work, "accepted": played.accepted, "reward": None, "plan": None})
        return await self._value(done, recalled, caller)


def _chosen(session: Session) -> Recalled | None:
    """Whose lessons are to be measured. A teacher's have no effect where the teacher had no say; a student's are not
    measured in the coach lane, where a first try is a plan's step and no answer."""
    student, teacher = session.student_memory, session.teacher_memory
    if student.compared is not None and session.route is not None and session.route.lane == "coach":
        return None
    if student.compared is not None or student.against is not None:
        return student
    supervised = session.route is not None and session.route.lane != "auto"
    return teacher if supervised and (teacher.compared is not None or teacher.against is not None) else None


def _reusable(event: Event) -> bool:
    """What a control need not do again: its own finished calls, and the same tool calls of the first attempt."""
    match event.body:
        case ModelCalled(actor="control"):
            return True
        case ToolCalled(attempt=attempt):
            return attempt == 1
        case _:
            return False
