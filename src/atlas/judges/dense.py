"""Rewards of single attempts, from checks that may be asked about each: what guidance changed, and for training."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.judges.base import Check
from atlas.models import Caller
from atlas.schema import ANSWER_STEP, Attempt, Session, StepReward, Verdict
from atlas.schema.errors import AtlasError, StoreError
from atlas.schema.events import Failure, JudgeFailed


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


def weighted_mean(scores: Sequence[tuple[float, float]]) -> float:
    """The mean of (weight, score) pairs, weights above 0 and scores in [0, 1]."""
    mean = sum(weight * score for weight, score in scores) / sum(weight for weight, _ in scores)
    return min(1.0, mean)  # rounding may leave it a hair above


def as_it_stood(session: Session, attempt: Attempt) -> Session:
    """The session as if it had ended with this attempt."""
    until = session.attempts[: session.attempts.index(attempt) + 1]
    return session.model_copy(update={"answer": attempt.output, "attempts": until, "accepted": None, "reward": None})


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
