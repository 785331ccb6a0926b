"""The scorer: the runtime's judges on batches, each content once, within a budget, never a made-up zero."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from atlas.judges import Ensemble, ExactCheck, LLMJudge, Piece, Scorer
from atlas.models import Caller, ScriptedModel
from atlas.schema import Request, Session, Verdict
from atlas.schema.errors import ModelUnavailable, StoreUnavailable

SessionOf = Callable[..., Session]


def reply(score: float) -> str:
    told = {"principles": [], "rationale": "r", "uncertainty": 0.1, "student_note": None, "teacher_note": None}
    return json.dumps(told | {"score": score})


def judged_by(answer: Callable[[Request], object]) -> tuple[Ensemble, ScriptedModel]:
    model = ScriptedModel(answer)
    return Ensemble((), [LLMJudge(model), LLMJudge(model, aspect="process")]), model


def pieces(*answers: str) -> list[Piece]:
    return [Piece(prompt="What is 6 x 7?", answer=answer, payload={"expected": "42"}) for answer in answers]


async def test_order_is_kept_and_each_content_is_judged_once() -> None:
    ensemble, model = judged_by(lambda request: reply(0.9 if "42" in request.messages[-1].content else 0.1))
    scorer = Scorer(ensemble)
    rewards = await scorer.score(pieces("it is 42", "it is 41", "it is 42", "it is 42"))
    assert [reward.value for reward in rewards] == [0.9, 0.1, 0.9, 0.9]
    assert len(model.requests) == scorer.calls == 4
    await scorer.score(pieces("it is 41"))
    assert scorer.calls == 4


async def test_checks_decide_without_a_call_as_in_the_runtime() -> None:
    scorer = Scorer(Ensemble([ExactCheck()], ()))
    rewards = await scorer.score(pieces("42", "41"))
    assert [(reward.value, reward.source) for reward in rewards] == [(1.0, "check"), (0.0, "check")]


async def test_a_spent_budget_leaves_rewards_without_a_value() -> None:
    ensemble, _ = judged_by(lambda request: reply(0.9))
    scorer = Scorer(ensemble, at_once=1, max_tokens=1)
    rewards = await scorer.score(pieces("a right one", "another", "a third"))
    assert rewards[0].value is not None
    assert [reward.value for reward in rewards[1:]] == [None, None]
    assert all(reward.source == "none" for reward in rewards[1:])
    assert scorer.calls <= 2


async def test_an_outage_is_asked_again_the_next_time() -> None:
    up = False

    def answer(request: Request) -> object:
        return reply(0.8) if up else ModelUnavailable("down")

    ensemble, _ = judged_by(answer)
    scorer = Scorer(ensemble)
    assert (await scorer.score(pieces("it is 42")))[0].value is None
    up = True
    assert (await scorer.score(pieces("it is 42")))[0].value == 0.8


async def test_many_run_at_once_and_no_more_than_allowed() -> None:
    running, most = 0, 0

    class Slow:
        name = "slow"

        async def judge(self, session: Session, caller: Caller) -> Verdict:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return Verdict(judge=self.name, score=1.0)

    told: list[int] = []
    await Scorer(Ensemble((), [Slow()]), at_once=3).score(pieces(*map(str, range(12))), told=lambda: told.append(1))
    assert most == 3
    assert len(told) == 12


async def test_a_caller_that_leaves_does_not_spoil_the_others() -> None:
    gate = asyncio.Event()

    class Waits:
        name = "waits"

        async def judge(self, session: Session, caller: Caller) -> Verdict:
            await gate.wait()
            return Verdict(judge=self.name, score=1.0)

    scorer = Scorer(Ensemble((), [Waits()]))
    leaving = asyncio.create_task(scorer.score(pieces("same")))
    staying = asyncio.create_task(scorer.score(pieces("same")))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.set()
    assert (await staying)[0].value == 1.0


async def test_a_defect_surfaces_and_is_not_kept() -> None:
    class Broken:
        name = "broken"

        async def judge(self, session: Session, caller: Caller) -> Verdict:
            raise StoreUnavailable("gone")

    scorer = Scorer(Ensemble((), [Broken()]))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await scorer.score(pieces("x"))


async def test_a_whole_session_is_scored_as_the_runtime_would(session_of: SessionOf) -> None:
    ensemble, model = judged_by(lambda request: reply(0.7))
    reward = await Scorer(ensemble).score_session(session_of("forty-two"))
    assert reward.value == pytest.approx(0.7)
    assert "forty-two" in model.requests[0].messages[-1].content
