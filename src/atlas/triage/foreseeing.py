"""Fitted routes at work: what a task's record says before the run, and what a look at the answer says after it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from atlas.schema import ANSWER_STEP, Attempt, Outcome, Route, Session, Task
from atlas.triage.arms import Arms, Tried, Worth
from atlas.triage.history import Thresholds
from atlas.triage.signals import Look, Signals


def words_hash(prompt: str) -> str:
    """MD5 of a prompt, as the store tells the same task again."""
    return hashlib.md5(prompt.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def student_of(policy: str) -> str:
    """The student's part of a policy line."""
    return policy.split(";")[0].removeprefix("student=")


def past_of(task: Task, outcomes: Iterable[Outcome]) -> dict[str, float]:
    """How this very task went before by student, the latest first try of each; tasks are told by their words."""
    mine, past = words_hash(task.prompt), dict[str, float]()
    for outcome in outcomes:
        if outcome.task == mine and outcome.first_try is not None:
            past.setdefault(student_of(outcome.policy), float(outcome.first_try))
    return past


def foreseen(task: Task, outcomes: Sequence[Outcome], arms: Arms, thresholds: Thresholds) -> Route | None:
    """The lane in which success is worth its price; None for a learning key that was not in the fit."""
    if task.learning_key not in arms.alone.keys:
        return None
    past = past_of(task, outcomes)
    worth = arms.worth(Signals(key=task.learning_key, prompt=task.prompt, past=past))
    reason = _reason(worth, arms)
    if worth.gain <= arms.least_gain:
        return Route(lane="auto", confidence=worth.alone, source="history", reason=reason)
    lane = "coach" if worth.helped < thresholds.paired else "paired"
    return Route(lane=lane, confidence=worth.alone, source="history", reason=reason)


def second_look(arms: Arms) -> Callable[[Task, Attempt], Route | None]:
    """A judge of first attempts: the route into the paired lane where a look at the answer calls for it."""

    def look(task: Task, attempt: Attempt) -> Route | None:
        if task.learning_key not in arms.alone.keys:
            return None
        worth = arms.worth(Signals(key=task.learning_key, prompt=task.prompt, look=look_at(attempt)))
        if worth.gain <= arms.least_gain:
            return None
        reason = f"after a look at the answer: {_reason(worth, arms)}"
        return Route(lane="paired", confidence=worth.alone, source="history", reason=reason)

    return look


def look_at(attempt: Attempt) -> Look:
    """Size and tool calls of an attempt."""
    return Look(size=float(len(attempt.output)), tools=len(attempt.tools))


def tried_of(sessions: Iterable[Session]) -> list[Tried]:
    """What finished sessions teach, oldest first: the first try alone, and the outcome where the lane was supervised.

    A session's past are the sessions before it with the same words.
    """
    past: dict[tuple[str, str, str], dict[str, float]] = {}
    rows: list[Tried] = []
    for session in sessions:
        task = session.task
        where = (task.tenant, task.learning_key, words_hash(task.prompt))
        first = [one for one in session.attempts if one.step == ANSWER_STEP and one.number == 1]
        alone = None if session.first_try is None else float(session.first_try)
        value = session.reward.value if session.reward else None
        supervised = session.route is not None and session.route.lane != "auto"
        signals = Signals(
            key=task.learning_key,
            prompt=task.prompt,
            past=dict(past.get(where, {})),
            look=look_at(first[0]) if first else None,
        )
        rows.append(Tried(task="/".join(where), signals=signals, alone=alone, helped=value if supervised else None))
        if alone is not None:
            past.setdefault(where, {})[student_of(session.policy)] = alone
    return rows


def _reason(worth: Worth, arms: Arms) -> str:
    sign = ">" if worth.gain > arms.least_gain else "<="
    return (
        f"alone {worth.alone:.2f}, with supervision {worth.helped:.2f}: a gain of {worth.gain:+.2f} {sign} "
        f"{arms.least_gain:.2f}"
    )
