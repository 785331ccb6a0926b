"""What `atlas.core.run` gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pydantic import ConfigDict, PrivateAttr

from atlas.schema import (
    Actor,
    Event,
    Lane,
    Noun,
    Plan,
    Reward,
    RoleUsage,
    Session,
    Status,
    Usage,
)


class StepResult(Noun):
    """What became of one step; a task that was not split has one step with id 0."""

    step_id: int
    """The step's number in the plan; 0 for the whole task."""
    description: str
    """What it was to do."""
    output: str
    """The last attempt's words."""
    attempts: int
    """How many tries it took."""
    accepted: bool | None
    """The teacher's last word; None when nobody reviewed it."""
    guidance: tuple[str, ...] = ()
    """What the teacher said on the way."""


class Result(Noun):
    """A session as its caller sees it: the answer first, the rest beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    session_id: str
    """UUID version 7; `atlas session show ID` shows everything."""
    status: Status
    """succeeded: there is an answer."""
    final_answer: str
    """The answer."""
    accepted: bool | None
    """Whether the teacher accepted it; None when nobody reviewed it."""
    lane: Lane
    """The lane it ran in."""
    plan: Plan | None
    """The plan, in the coach lane."""
    step_results: tuple[StepResult, ...]
    """Every step."""
    reward: Reward | None
    """None until judged: `await result.settled()` gives the result with its reward."""
    usage: tuple[RoleUsage, ...]
    """Tokens and money by role."""
    events: tuple[Event, ...]
    """Everything that happened, in order."""
    _settled: Future[Result] | None = PrivateAttr(default=None)

    @property
    def total_usage(self) -> Usage:
        """Tokens and money of all roles together."""
        return sum((role.usage for role in self.usage), Usage())

    def usage_of(self, actor: Actor) -> Usage:
        """Tokens and money of one role; zero when it was not asked."""
        return next((role.usage for role in self.usage if role.actor == actor), Usage())

    async def settled(self) -> Result:
        """The result with its reward, once judges and memory are done. Works in any event loop."""
        return await asyncio.wrap_future(self._settled) if self._settled else self

    def wait(self, timeout_s: float | None = None) -> Result:
        """The same for code without an event loop.

        Raises:
            TimeoutError: judging took longer than `timeout_s` seconds.
        """
        return self._settled.result(timeout_s) if self._settled else self


def result_of(session: Session, events: list[Event], settled: Future[Result] | None = None) -> Result:
    """A session with an answer, as its caller sees it."""
    if session.route is None or session.answer is None:
        raise ValueError(f"session {session.id} has no answer")
    result = Result(
        session_id=session.id,
        status=session.status,
        final_answer=session.answer,
        accepted=session.accepted,
        lane=session.route.lane,
        plan=session.plan,
        step_results=step_results(session),
        reward=session.reward,
        usage=session.usage,
        events=tuple(events),
    )
    result._settled = settled  # pyright: ignore[reportPrivateUsage]
    return result


def step_results(session: Session) -> tuple[StepResult, ...]:
    """One line for each step that was attempted, in the plan's order."""
    descriptions: dict[int, str] = {0: session.task.prompt}
    if session.plan is not None:
        descriptions |= {step.id: step.description for step in session.plan.steps}
    order: Callable[[Any], int] = list(descriptions).index
    steps = sorted({attempt.step for attempt in session.attempts if attempt.step in descriptions}, key=order)
    return tuple(_step_result(session, step, descriptions[step]) for step in steps)


def _step_result(session: Session, step: int, description: str) -> StepResult:
    attempts = [attempt for attempt in session.attempts if attempt.step == step]
    reviews = [review for review in session.reviews if review.step == step and review.target != "plan"]
    return StepResult(
        step_id=step,
        description=description,
        output=attempts[-1].output,
        attempts=len(attempts),
        accepted=reviews[-1].accepted if reviews else None,
        guidance=tuple(review.guidance for review in reviews if review.guidance),
    )
