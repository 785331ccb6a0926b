"""The attempts of a session side by side, and the judges' verdicts with how far they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import pstdev

from pydantic import TypeAdapter, ValidationError

from atlas.schema import ANSWER_STEP, Attempt, Body, Noun, Plan, Recalled, Review, Reward, Verdict
from atlas.schema import events as ev
from atlas.store.browsed import SeenEvent
from atlas.viewer.seeing import Piece, compared

WORK = ("planned", "attempted", "reviewed", "rewarded", "answered", "memory_recalled", "routed", "triaged")
"""Kinds of events that are needed here."""
JUDGEMENT = ("judged", "judge_failed", "rewarded")
_BODY: TypeAdapter[Body] = TypeAdapter(Body)


class Try(Noun):
    """One attempt with the teacher's word on it."""

    attempt: Attempt
    """What the student did."""
    review: Review | None
    """The teacher's word; None when nobody reviewed it."""
    value: float | None
    """Its own reward in [0, 1], where one is known."""
    change: tuple[Piece, ...] | None
    """What it changed in the words of the try before; None for a first try, or where they are too long to compare."""


class StepWork(Noun):
    """The attempts at one step."""

    step: int
    """Its number; 0 for the whole task."""
    description: str
    """What the plan says of it; empty for the whole task."""
    depends_on: tuple[int, ...]
    """Steps whose results it needs."""
    tries: tuple[Try, ...]
    """In order."""


class PlanTry(Noun):
    """One plan with the teacher's word on it."""

    attempt: int
    """1 for the first plan."""
    plan: Plan
    """Its steps."""
    review: Review | None
    """The teacher's word."""


class Work(Noun):
    """What the student did."""

    plans: tuple[PlanTry, ...]
    """In the coach lane: each plan it made."""
    steps: tuple[StepWork, ...]
    """By step."""


class Judgement(Noun):
    """What the judges said."""

    reward: Reward | None
    """What the ensemble made of it."""
    verdicts: tuple[Verdict, ...]
    """Every verdict that was given."""
    failed: tuple[ev.JudgeFailed, ...]
    """Judges that gave none."""
    spread: float | None
    """Standard deviation of the scores; None below two verdicts."""


class Memory(Noun):
    """What of the playbooks a session saw."""

    student: Recalled | None
    """For the student."""
    teacher: Recalled | None
    """For the teacher."""


def bodies(events: Sequence[SeenEvent]) -> list[Body]:
    """The bodies that are understood; what is too long or of another version is left to its own page."""
    found: list[Body] = []
    for event in events:
        try:
            found.append(_BODY.validate_python(event.body))
        except ValidationError:
            continue
    return found


def work_of(told: Sequence[Body]) -> Work:
    """The attempts of a session by step."""
    plans = [body for body in told if isinstance(body, ev.Planned)]
    reviews = {
        (r.target == "plan", r.step, r.attempt): r for r in (b.review for b in told if isinstance(b, ev.Reviewed))
    }
    values = {(v.step, v.attempt): v.value for b in told if isinstance(b, ev.Rewarded) for v in b.reward.steps}
    described = {step.id: step for step in plans[-1].plan.steps} if plans else {}
    by_step: dict[int, list[Try]] = {}
    for body in told:
        if isinstance(body, ev.Attempted):
            one = body.attempt
            tries = by_step.setdefault(one.step, [])
            change = compared(tries[-1].attempt.output, one.output) if tries else None
            place = (one.step, one.number)
            tries.append(Try(attempt=one, review=reviews.get((False, *place)), value=values.get(place), change=change))
    return Work(
        plans=tuple(
            PlanTry(attempt=made.attempt, plan=made.plan, review=reviews.get((True, ANSWER_STEP, made.attempt)))
            for made in plans
        ),
        steps=tuple(
            StepWork(
                step=step,
                description=described[step].description if step in described else "",
                depends_on=described[step].depends_on if step in described else (),
                tries=tuple(tries),
            )
            for step, tries in sorted(by_step.items())
        ),
    )


def judgement_of(told: Sequence[Body]) -> Judgement:
    """The verdicts of a session; those of the last reward where there is one."""
    rewards = [body.reward for body in told if isinstance(body, ev.Rewarded)]
    given = tuple(body.verdict for body in told if isinstance(body, ev.Judged))
    verdicts = given or (rewards[-1].verdicts if rewards else ())
    scores = [verdict.score for verdict in verdicts]
    return Judgement(
        reward=rewards[-1] if rewards else None,
        verdicts=verdicts,
        failed=tuple(body for body in told if isinstance(body, ev.JudgeFailed)),
        spread=pstdev(scores) if len(scores) > 1 else None,
    )


def memory_of(told: Sequence[Body]) -> Memory:
    """What was put into the prompts of a session, and what chance withheld."""
    recalled = [body for body in told if isinstance(body, ev.MemoryRecalled)]
    last = recalled[-1] if recalled else None
    return Memory(student=last.student if last else None, teacher=last.teacher if last else None)
