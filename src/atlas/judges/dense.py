"""Rewards of single attempts and steps: what guidance changed, for learning and for training."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from atlas.judges.base import Check
from atlas.models import Caller
from atlas.schema import ANSWER_STEP, Attempt, Noun, Session, StepReward, Verdict
from atlas.schema.errors import AtlasError, StoreError
from atlas.schema.events import Failure, JudgeFailed


class Improvement(Noun):
    """What an attempt gained over the one before it."""

    step: int
    """Which step; 0 for the whole task."""
    attempt: int
    """Which attempt, from 2."""
    gain: float
    """Its reward minus that of the attempt before, in [-1, 1]; below 0 it was made worse."""
    guided: bool
    """Whether the teacher's guidance lay between the two."""


async def attempt_rewards(
    decided: Sequence[tuple[Check, Verdict]], session: Session, caller: Caller
) -> tuple[StepReward, ...]:
    """The checks' weighted mean for each attempt at the answer; empty where not every check that decided is dense.

    Attempts at a plan's steps have no reward: checks know answers. An attempt on which a check fails has none either.
    """
    if not all(check.dense for check, _ in decided):
        return ()
    rewards: list[StepReward] = []
    for attempt in session.attempts:
        if attempt.step != ANSWER_STEP:
            continue
        if attempt == session.attempts[-1] and attempt.output == session.answer:
            value: float | None = weighted_mean([(check.weight, verdict.score) for check, verdict in decided])
        else:
            value = await _value([check for check, _ in decided], as_it_stood(session, attempt), caller)
        if value is not None:
            rewards.append(StepReward(step=attempt.step, attempt=attempt.number, value=value))
    return tuple(rewards)


async def judged_attempts(
    session: Session, ask: Callable[[Session, str], Awaitable[float | None]]
) -> tuple[StepReward, ...]:
    """A reward for every attempt but the final answer's own, by asking judges about the session as it then stood.

    `ask` gets that session and a label. An attempt at a step of a plan is judged against the step's own words. An
    attempt nobody could judge has no reward.
    """
    rewards: list[StepReward] = []
    for attempt in session.attempts:
        if attempt == session.attempts[-1] and attempt.output == session.answer:
            continue
        where = f"attempt {attempt.number}" if attempt.step == ANSWER_STEP else f"step {attempt.step} {attempt.number}"
        value = await ask(as_it_stood(session, attempt), where)
        if value is not None:
            rewards.append(StepReward(step=attempt.step, attempt=attempt.number, value=value))
    return tuple(rewards)


def improvements(session: Session) -> tuple[Improvement, ...]:
    """What each attempt gained over the one before it, where both have a reward, in the order of attempts."""
    if session.reward is None:
        return ()
    values = {(one.step, one.attempt): one.value for one in session.reward.steps}
    last = session.attempts[-1] if session.attempts else None
    if last and last.output == session.answer and session.reward.value is not None:
        values.setdefault((last.step, last.number), session.reward.value)
    return tuple(
        Improvement(
            step=one.step,
            attempt=one.number,
            gain=values[one.step, one.number] - values[one.step, one.number - 1],
            guided=one.guidance is not None,
        )
        for one in session.attempts
        if (one.step, one.number) in values and (one.step, one.number - 1) in values
    )


def weighted_mean(scores: Sequence[tuple[float, float]]) -> float:
    """The mean of (weight, score) pairs, weights above 0 and scores in [0, 1]."""
    mean = sum(weight * score for weight, score in scores) / sum(weight for weight, _ in scores)
    return min(1.0, mean)  # rounding may leave it a hair above


def as_it_stood(session: Session, attempt: Attempt) -> Session:
    """The session as if it had ended with this attempt; an attempt at a step answers the step."""
    until = session.attempts[: session.attempts.index(attempt) + 1]
    then: dict[str, object] = {"answer": attempt.output, "attempts": until, "accepted": None, "reward": None}
    steps = {step.id: step.description for step in session.plan.steps} if session.plan else {}
    if attempt.step in steps:
        then["task"] = session.task.model_copy(update={"prompt": steps[attempt.step]})
    return session.model_copy(update=then)


async def _value(checks: Sequence[Check], session: Session, caller: Caller) -> float | None:
    scores: list[tuple[float, float]] = []
    for check in checks:
        try:
            scores.append((check.weight, (await check.judge(session, caller)).score))
        except StoreError:
            raise
        except AtlasError as error:
            name = f"{check.name}, attempt {session.attempts[-1].number}"
            await caller.trace.record(JudgeFailed(judge=name, failure=Failure.of(error)))
            return None
    return weighted_mean(scores)
