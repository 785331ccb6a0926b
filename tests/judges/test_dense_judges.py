"""Dense rewards by model judges, and what each attempt gained over the one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atlas.judges import Ensemble, EnsembleRules, improvements
from atlas.models import Caller
from atlas.schema import Attempt, Plan, Reward, Session, Step, StepReward, Task, Verdict
from atlas.schema.errors import JudgeError

SessionOf = Callable[..., Session]


class Reads:
    """Scores what it is shown; refuses what it is told to."""

    def __init__(self, name: str, scores: dict[str, float]) -> None:
        self.name = name
        self.seen: list[tuple[str, str]] = []
        self._scores = scores

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        self.seen.append((session.task.prompt, session.answer or ""))
        if session.answer not in self._scores:
            raise JudgeError("no opinion")
        return Verdict(judge=self.name, score=self._scores[session.answer], uncertainty=0.0)


@pytest.fixture
def rescued(session_of: SessionOf) -> Session:
    attempts = (Attempt(output="bad"), Attempt(output="good", number=2, guidance="Look again."))
    return session_of("good", attempts=attempts)


async def test_every_attempt_is_judged_as_the_session_then_stood(rescued: Session, caller: Caller, trace: Any) -> None:
    judges = [Reads("a", {"bad": 0.1, "good": 0.9}), Reads("b", {"bad": 0.3, "good": 0.9})]
    reward = await Ensemble((), judges, rules=EnsembleRules(dense=True)).reward(rescued, caller)
    assert reward.value == pytest.approx(0.9)
    assert reward.steps == (StepReward(step=0, attempt=1, value=0.2),)
    labels = [body.verdict.judge for body in trace.bodies if body.type == "judged"]
    assert labels == ["a", "b", "a, attempt 1", "b, attempt 1"]
    gained = improvements(rescued.model_copy(update={"reward": reward}))
    assert [(one.attempt, one.guided) for one in gained] == [(2, True)]
    assert gained[0].gain == pytest.approx(0.7)


async def test_a_step_is_judged_against_its_own_words(session_of: SessionOf, caller: Caller) -> None:
    plan = Plan(steps=(Step(id=1, description="Find the price."), Step(id=2, description="Add tax.")))
    attempts = (Attempt(step=1, output="10"), Attempt(step=2, output="12"))
    session = session_of("All in all 12.", attempts=attempts, plan=plan, task=Task(prompt="What does it cost?"))
    judge = Reads("a", {"10": 0.8, "12": 0.6, "All in all 12.": 0.9})
    reward = await Ensemble((), [judge], rules=EnsembleRules(dense=True)).reward(session, caller)
    assert [(one.step, one.value) for one in reward.steps] == [(1, 0.8), (2, 0.6)]
    assert judge.seen[1:] == [("Find the price.", "10"), ("Add tax.", "12")]


async def test_an_attempt_nobody_can_judge_has_no_reward(rescued: Session, caller: Caller, trace: Any) -> None:
    judges = [Reads("a", {"good": 0.9}), Reads("b", {"good": 0.8})]
    reward = await Ensemble((), judges, rules=EnsembleRules(dense=True)).reward(rescued, caller)
    assert reward.value == pytest.approx(0.85)
    assert reward.steps == ()
    assert improvements(rescued.model_copy(update={"reward": reward})) == ()
    assert [body.judge for body in trace.bodies if body.type == "judge_failed"] == ["a, attempt 1", "b, attempt 1"]


async def test_it_costs_nothing_unless_it_is_asked_for(rescued: Session, caller: Caller) -> None:
    judge = Reads("a", {"bad": 0.1, "good": 0.9})
    await Ensemble((), [judge]).reward(rescued, caller)
    assert len(judge.seen) == 1


def test_unguided_tries_and_losses_are_told_as_they_are(session_of: SessionOf) -> None:
    attempts = (Attempt(output="a"), Attempt(output="b", number=2), Attempt(output="c", number=3, guidance="x"))
    steps = tuple(StepReward(step=0, attempt=n, value=value) for n, value in ((1, 0.5), (2, 0.7), (3, 0.2)))
    session = session_of("c", attempts=attempts, reward=Reward(value=0.2, source="check", steps=steps))
    told = [(one.attempt, round(one.gain, 2), one.guided) for one in improvements(session)]
    assert told == [(2, 0.2, False), (3, -0.5, True)]
    assert improvements(session_of("c")) == ()
