"""One task taken through the loop once: what is stored, shown, exported and trained on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from pydantic import Field

from atlas.schema import events as ev
from atlas.schema.base import Noun
from atlas.schema.chat import Usage
from atlas.schema.judgement import Reward
from atlas.schema.memory import Recalled
from atlas.schema.task import Dossier, Route, Task
from atlas.schema.work import Attempt, Plan, Review


class RoleUsage(Noun):
    """What one role consumed."""

    actor: ev.Actor
    """Which role."""
    usage: Usage
    """Its sum over the session."""


class Session(Noun):
    """One task taken through the loop once."""

    id: str
    """UUID version 7."""
    task: Task
    """What was asked."""
    status: ev.Status = "running"
    """running, or one of the four final states."""
    policy: str = ""
    """Which models served."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """The caller's own labels (a payload)."""
    dossier: Dossier = Dossier()
    """What triage knew."""
    route: Route | None = None
    """The lane; None before routing."""
    student_memory: Recalled = Recalled(audience="student", version=0)
    """What of the playbook the student saw."""
    teacher_memory: Recalled = Recalled(audience="teacher", version=0)
    """What of the playbook the teacher saw."""
    plan: Plan | None = None
    """The last plan, in the coach lane."""
    attempts: tuple[Attempt, ...] = ()
    """Every try, in order."""
    reviews: tuple[Review, ...] = ()
    """Every review, in order."""
    degraded: tuple[ev.Degraded, ...] = ()
    """What was missing on the way."""
    answer: str | None = None
    """The final answer."""
    accepted: bool | None = None
    """Whether the teacher accepted it; None when nobody reviewed it."""
    reward: Reward | None = None
    """None until judged; a reward without a value means that no judge could tell."""
    compared: ev.Compared | None = None
    """What the same task gave with a lesson shown or withheld; None where it was done once."""
    usage: tuple[RoleUsage, ...] = ()
    """Consumption by role."""
    failure: ev.Failure | None = None
    """Why it failed."""
    created_at: datetime
    """When it started (UTC)."""
    finished_at: datetime | None = None
    """When the final state was reached (UTC)."""

    @property
    def total_usage(self) -> Usage:
        """Consumption of all roles together."""
        return sum((role.usage for role in self.usage), Usage())

    @property
    def first_try(self) -> bool | None:
        """Whether the first attempt stood without guidance; None when nobody can say.

        A check that read the first attempt decides; else the teacher's word, which an executed check may overrule.
        """
        first = [step.value for step in self.reward.steps if step.attempt == 1] if self.reward else []
        if first:
            return min(first) >= 0.5
        if any(not review.accepted for review in self.reviews if review.attempt == 1 and review.target != "plan"):
            return False
        value = self.reward.value if self.reward else None
        if value is not None:
            return value >= 0.5
        return True if self.accepted else None


class Happened(Protocol):
    """What a session is rebuilt from: an event, or whatever else tells as much."""

    @property
    def session_id(self) -> str:
        """The session."""
        ...

    @property
    def seq(self) -> int:
        """Its number in the session."""
        ...

    @property
    def at(self) -> datetime:
        """When it happened."""
        ...

    @property
    def body(self) -> ev.Body:
        """What happened."""
        ...


def rebuild(events: Iterable[Happened]) -> Session:
    """The session that these events tell, in order of `seq`.

    Raises:
        ValueError: the first event is not `session_started`.
    """
    ordered = sorted(events, key=lambda event: event.seq)
    if not ordered or not isinstance(ordered[0].body, ev.SessionStarted):
        raise ValueError("a session's first event must be session_started")
    start = ordered[0].body
    state: dict[str, Any] = {}
    attempts: list[Attempt] = []
    reviews: list[Review] = []
    degraded: list[ev.Degraded] = []
    usage: dict[ev.Actor, Usage] = {}
    for event in ordered:
        match event.body:
            case ev.ModelCalled(actor=actor, completion=completion):
                usage[actor] = usage.get(actor, Usage()) + completion.usage
            case ev.Attempted(attempt=attempt):
                attempts.append(attempt)
            case ev.Reviewed(review=review):
                reviews.append(review)
            case ev.Degraded() as body:
                degraded.append(body)
            case ev.Triaged(dossier=dossier):
                state["dossier"] = dossier
            case ev.Routed(route=route):
                state["route"] = route
            case ev.MemoryRecalled(student=student, teacher=teacher):
                state |= {"student_memory": student, "teacher_memory": teacher}
            case ev.Planned(plan=plan):
                state["plan"] = plan
            case ev.Answered(answer=answer, accepted=accepted):
                state |= {"answer": answer, "accepted": accepted}
            case ev.Rewarded(reward=reward):
                state["reward"] = reward
            case ev.Compared() as body:
                state["compared"] = body
            case ev.Finished(status=status, failure=failure):
                state |= {"status": status, "failure": failure, "finished_at": event.at}
            case ev.SessionResumed():
                state |= {"status": "running", "failure": None, "finished_at": None}
            case _:
                pass
    return Session(
        id=ordered[0].session_id,
        task=start.task,
        policy=start.policy,
        metadata=dict(start.metadata),
        attempts=tuple(attempts),
        reviews=tuple(reviews),
        degraded=tuple(degraded),
        usage=tuple(RoleUsage(actor=actor, usage=used) for actor, used in usage.items()),
        created_at=ordered[0].at,
        **state,
    )
