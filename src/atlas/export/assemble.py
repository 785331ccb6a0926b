"""From a session's stored events to its record."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from atlas.export.bodies import SessionBodies
from atlas.export.record import (
    AdaptiveSummary,
    PlaybookVersions,
    RecordedAttempt,
    RecordedDossier,
    RecordedEvent,
    RecordedJudge,
    RecordedPlan,
    RecordedPlanStep,
    RecordedReward,
    RecordedStep,
    SessionRecord,
)
from atlas.export.source import TOLD, StoredEvent, StoredSession
from atlas.schema import (
    ANSWER_STEP,
    Attempt,
    Body,
    Review,
    Reward,
    RoleUsage,
    Session,
    ToolUse,
    Usage,
    rebuild,
)
from atlas.schema.events import Actor
from atlas.store.pooling import ESC

_TOLD = frozenset(TOLD)


class Told(NamedTuple):
    """An event as far as a session is rebuilt from it; quicker to make than the noun."""

    session_id: str
    """The session."""
    seq: int
    """Its number in the session."""
    at: datetime
    """When it happened."""
    body: Body
    """What happened."""


def record_of(stored: StoredSession, *, events: bool = False) -> SessionRecord:
    """The record of a session; with `events` it holds what happened, every reference resolved.

    Raises:
        ValueError: the first event is not `session_started`, or one of them is not what its type says.
    """
    bodies = SessionBodies(stored.payloads)
    trees = [bodies.tree(event.seq) for event in stored.events] if events else []  # First: the rest is read from them.
    told = _session(stored, bodies)
    record = _record(stored, told, _Work(told, stored.events))
    if not events:
        return record
    happened = tuple(map(recorded_event, stored.events, trees))
    return record.model_copy(update={"trajectory_events": happened})


def recorded_event(event: StoredEvent, body: dict[str, Any]) -> RecordedEvent:
    """One event with its body."""
    return RecordedEvent(
        id=event.seq, type=event.type, actor=cast("Actor | None", event.actor), created_at=event.at, event=body
    )


def _session(stored: StoredSession, bodies: SessionBodies) -> Session:
    """The session as its telling events say it; what models consumed comes from the columns."""
    telling = [
        Told(stored.id, event.seq, event.at, bodies.body(event.seq)) for event in stored.events if event.type in _TOLD
    ]
    session = rebuild(telling)
    status = stored.status if session.status == "running" else session.status
    return session.model_copy(update={"status": status, "usage": _usage(stored.events)})


def _usage(events: Iterable[StoredEvent]) -> tuple[RoleUsage, ...]:
    used: dict[Actor, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.usage is not None:
            plainly = ESC not in event.usage
            told = from_json(event.usage) if plainly else SessionBodies({0: event.usage}).tree(0)
            used[cast("Actor", event.actor)].append(told)
    return tuple(RoleUsage(actor=actor, usage=_sum(each)) for actor, each in used.items())


def _sum(each: Sequence[dict[str, Any]]) -> Usage:
    """The sum, as `Usage` adds."""
    costs = [told["cost_usd"] for told in each if told["cost_usd"] is not None]
    counts = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
    sums = {name: sum(told[name] for told in each) for name in counts}
    return Usage(**sums, cost_usd=sum(costs) if costs else None)


class _Work:
    """The attempts of a session with what belongs to each."""

    def __init__(self, session: Session, events: Sequence[StoredEvent]) -> None:
        self.session = session
        self.last = {attempt.step: attempt for attempt in sorted(session.attempts, key=_number)}
        split = any(step != ANSWER_STEP for step in self.last)
        self.steps = sorted(step for step in self.last if step != ANSWER_STEP or not split)
        self.reviews = {(r.step, r.attempt): r for r in session.reviews if r.target != "plan"}
        values = session.reward.steps if session.reward else ()
        self.values = {(value.step, value.attempt): value.value for value in values}
        self.calls: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.spent_s: dict[int, float] = defaultdict(float)
        for event in events:
            self._count(event)

    def _count(self, event: StoredEvent) -> None:
        step = event.step or ANSWER_STEP
        mine = event.type == "tool_called" or event.purpose in ("answer", "step", "verify")
        if mine and event.duration_s is not None:
            self.spent_s[step] += event.duration_s
        if event.type == "model_called" and event.purpose in ("answer", "step"):
            self.calls[step, event.attempt or 1].append(event.seq)

    def reward(self, attempt: Attempt) -> RecordedReward:
        """The reward of one attempt: its own, else the session's for the last answer."""
        value = self.values.get((attempt.step, attempt.number))
        if attempt.step == ANSWER_STEP and attempt is self.last[ANSWER_STEP]:
            whole = recorded_reward(self.session.reward) or RecordedReward()
            return whole if value is None else whole.model_copy(update={"score": value})
        return RecordedReward(score=value, source=self.session.reward.source if self.session.reward else "none")


def _number(attempt: Attempt) -> int:
    return attempt.number


def _record(stored: StoredSession, session: Session, work: _Work) -> SessionRecord:
    reward, task = session.reward, session.task
    return SessionRecord(
        session_id=session.id,
        task=task.prompt,
        final_answer=session.answer or "",
        status=session.status,
        review_status=stored.review_status,
        review_notes=stored.review_notes,
        plan=_plan(session),
        steps=tuple(_step(work, work.last[step]) for step in work.steps),
        session_metadata=_metadata(session, stored.drift),
        session_reward=recorded_reward(reward),
        student_learning=_notes(verdict.student_note for verdict in reward.verdicts) if reward else None,
        teacher_learning=_notes(verdict.teacher_note for verdict in reward.verdicts) if reward else None,
        learning_history=_history(session),
        adaptive_summary=_adaptive(session),
        triage_dossier=_dossier(session),
        learning_key=task.learning_key,
        tenant=task.tenant,
        lane=session.route.lane if session.route else None,
        accepted=session.accepted,
        policy=session.policy,
        playbooks=PlaybookVersions(student=session.student_memory.version, teacher=session.teacher_memory.version),
        usage=session.usage,
        attempts=tuple(_attempt(work, attempt) for attempt in session.attempts),
        degraded=session.degraded,
        failure=session.failure,
        created_at=session.created_at,
        completed_at=session.finished_at,
    )


def _plan(session: Session) -> RecordedPlan:
    if session.plan is None:
        return RecordedPlan(steps=(RecordedPlanStep(id=ANSWER_STEP, description=session.task.prompt),))
    return RecordedPlan(
        steps=tuple(
            RecordedPlanStep(id=step.id, description=step.description, depends_on=step.depends_on)
            for step in session.plan.steps
        )
    )


def _step(work: _Work, attempt: Attempt) -> RecordedStep:
    planned = {step.id: step for step in work.session.plan.steps} if work.session.plan else {}
    step = planned.get(attempt.step)
    depends_on = step.depends_on if step else ()
    review = work.reviews.get((attempt.step, attempt.number))
    seconds = work.spent_s.get(attempt.step)
    first = attempt.tools[0] if attempt.tools else None
    given = {str(other): work.last[other].output for other in depends_on if other in work.last}
    return RecordedStep(
        step_id=attempt.step,
        description=step.description if step else work.session.task.prompt,
        trace="\n".join(map(_line, attempt.tools)),
        output=attempt.output,
        reward=work.reward(attempt),
        tool=first.call.name if first else None,
        tool_params=_arguments(first) if first else {},
        context={"prior_results": given} if given else {},
        validation=_validation(review),
        attempts=attempt.number,
        guidance=_guidance(work, attempt.step),
        metadata=_step_metadata(work, attempt),
        runtime=None if seconds is None else round(seconds * 1000, 3),
        depends_on=depends_on,
    )


def _line(use: ToolUse) -> str:
    result = use.output if use.error is None else f"error: {use.error}"
    return f"{use.call.name}({use.call.arguments}) -> {result}"


def _arguments(use: ToolUse) -> dict[str, Any]:
    """The arguments a model wrote, where they are an object."""
    try:
        found = json.loads(use.call.arguments)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _validation(review: Review | None) -> dict[str, Any]:
    return {} if review is None else {"valid": review.accepted, "guidance": review.guidance}


def _guidance(work: _Work, step: int) -> tuple[str, ...]:
    words = work.session.reviews
    return tuple(r.guidance for r in words if r.target != "plan" and r.step == step and r.guidance)


def _step_metadata(work: _Work, last: Attempt) -> dict[str, Any]:
    history: list[dict[str, Any]] = []
    for attempt in work.session.attempts:
        if attempt.step == last.step:
            review = work.reviews.get((attempt.step, attempt.number))
            score = {"score": work.values.get((attempt.step, attempt.number))}
            evaluation = {"validation": _validation(review), "reward": score}
            history.append({"attempt": attempt.number, "evaluation": evaluation})
    tools = [{"name": use.call.name, "arguments": use.call.arguments, "error": use.error} for use in last.tools]
    return {"attempt_history": history} | ({"tool_calls": tools} if tools else {})


def _attempt(work: _Work, attempt: Attempt) -> RecordedAttempt:
    place = (attempt.step, attempt.number)
    review = work.reviews.get(place)
    shown = attempt is work.last[attempt.step] and attempt.step in work.steps
    return RecordedAttempt(
        step=attempt.step,
        number=attempt.number,
        guidance=attempt.guidance,
        accepted=review.accepted if review else None,
        value=work.values.get(place),
        output=None if shown else attempt.output,
        calls=tuple(work.calls.get(place, ())),
    )


def recorded_reward(reward: Reward | None) -> RecordedReward | None:
    """A reward with its verdicts, in the record's words."""
    if reward is None:
        return None
    judges = tuple(
        RecordedJudge(
            identifier=verdict.judge,
            score=verdict.score,
            uncertainty=verdict.uncertainty,
            rationale=verdict.rationale,
            principles=verdict.principles,
            escalated=reward.escalated,
            escalation_reason=reward.reason if reward.escalated else None,
        )
        for verdict in reward.verdicts
    )
    return RecordedReward(
        score=reward.value,
        uncertainty=reward.uncertainty,
        judges=judges,
        rationale=reward.reason,
        source=reward.source,
        barred=reward.barred,
    )


def _notes(notes: Iterable[str | None]) -> str | None:
    return "\n".join(filter(None, notes)) or None


def _metadata(session: Session, drift: str | None) -> dict[str, Any]:
    lane = {"execution_mode": session.route.lane} if session.route else {}
    ended = {"completed_at": session.finished_at.isoformat()} if session.finished_at else {}
    return {
        **session.metadata,
        "session_id": session.id,
        "status": session.status,
        "learning_key": session.task.learning_key,
        "tenant": session.task.tenant,
        "created_at": session.created_at.isoformat(),
        **lane,
        **ended,
        **_drift(drift),
    }


def _drift(stored: str | None) -> dict[str, Any]:
    found = from_json(stored) if stored else None
    if not isinstance(found, dict):
        return {}
    drift = cast("dict[str, Any]", found)
    return {"drift": drift, "drift_alert": drift.get("drift_alert")}


def _history(session: Session) -> dict[str, Any] | None:
    memories = (session.student_memory, session.teacher_memory)
    entries = [
        {"id": entry.id, "audience": entry.audience, "cue": entry.cue.text, "action": entry.action}
        for memory in memories
        for entry in memory.shown
    ]
    held_out = [entry_id for memory in memories for entry_id in memory.held_out]
    if not entries and not held_out and not any(memory.version for memory in memories):
        return None
    versions = {f"{memory.audience}_version": memory.version for memory in memories}
    return {"entries": entries, "held_out": held_out, "count": len(entries), **versions}


def _adaptive(session: Session) -> AdaptiveSummary | None:
    route = session.route
    if route is None:
        return None
    decision = route.model_dump()
    return AdaptiveSummary(
        adaptive_mode=route.lane,
        confidence=route.confidence,
        certification_run=route.source == "certification",
        probe=decision if route.source == "probe" else None,
        mode_history=(decision,),
    )


def _dossier(session: Session) -> RecordedDossier:
    return RecordedDossier(**session.dossier.model_dump(), task=session.task.prompt.split("\n", 1)[0])
