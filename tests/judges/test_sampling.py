"""Which auto sessions are judged, and that the mean over all of them stays right."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import fmean

import pytest

from atlas.judges import Ensemble, EnsembleRules, mean_reward
from atlas.judges.sampling import drawn
from atlas.models import Caller
from atlas.schema import Reward, Route, Session, Verdict

SessionOf = Callable[..., Session]


class Says:
    name = "sample"

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        return Verdict(judge=self.name, score=0.9)


def auto(confidence: float | None) -> Route:
    return Route(lane="auto", confidence=confidence, source="history")


def test_the_less_sure_the_route_the_likelier_it_is_judged(session_of: SessionOf) -> None:
    def share(confidence: float | None) -> float:
        return drawn(session_of(route=auto(confidence)), 0.1).propensity

    assert share(None) == share(0.5) == 1.0
    assert share(1.0) == pytest.approx(0.1)
    assert 0.1 < share(0.95) < share(0.8) < 1.0


def test_other_lanes_are_always_judged(session_of: SessionOf) -> None:
    route = Route(lane="paired", confidence=0.99)
    assert drawn(session_of(route=route), 0.01).judged
    assert drawn(session_of(), 0.01).propensity == 1.0


def test_the_draw_follows_the_session_and_keeps_its_share(session_of: SessionOf) -> None:
    sessions = [session_of(id=f"session {n}", route=auto(1.0)) for n in range(2000)]
    draws = [drawn(session, 0.2).judged for session in sessions]
    assert draws == [drawn(session, 0.2).judged for session in sessions]
    assert fmean(draws) == pytest.approx(0.2, abs=0.03)


async def test_a_session_that_is_not_drawn_costs_nothing_and_says_so(session_of: SessionOf, caller: Caller) -> None:
    ensemble = Ensemble((), [Says(), Says()], rules=EnsembleRules(auto_share=0.05))
    rewards = [await ensemble.reward(session_of(id=f"s{n}", route=auto(1.0)), caller) for n in range(60)]
    skipped = [reward for reward in rewards if not reward.drawn]
    assert len(skipped) > 40
    assert all(reward.value is None and not reward.verdicts for reward in skipped)
    assert all("probability 0.05" in reward.reason for reward in skipped)
    assert all(reward.propensity == pytest.approx(0.05) for reward in rewards)


def test_the_weighted_mean_is_unbiased_where_the_plain_one_is_not() -> None:
    draw = random.Random(0)
    weighted: list[float] = []
    plain: list[float] = []
    covered = 0
    for _ in range(300):
        truth, rewards = [], []
        for _ in range(200):
            confidence = draw.choice([0.6, 0.95])
            value = float(draw.random() < confidence)
            propensity = 0.2 + 0.8 * 2 * (1 - confidence)
            truth.append(value)
            judged = draw.random() < propensity
            rewards.append(Reward(value=value if judged else None, propensity=propensity, drawn=judged))
        found = mean_reward(rewards, centre=0.7)
        weighted.append(found.mean - fmean(truth))
        covered += found.low <= 0.775 <= found.high
        plain.append(fmean(one.value for one in rewards if one.value is not None) - fmean(truth))
    assert abs(fmean(weighted)) < 0.01 < abs(fmean(plain))
    assert covered / 300 > 0.9


def test_a_judge_that_failed_is_neither_zero_nor_a_skipped_session() -> None:
    rewards = [Reward(value=1.0), Reward(value=None, reason="outage"), Reward(value=0.5)]
    assert mean_reward(rewards).mean == pytest.approx(0.75)
    with pytest.raises(ValueError, match="at least one"):
        mean_reward([Reward(value=None)])
