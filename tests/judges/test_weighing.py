"""Fitted panels: who is asked, how much each counts, when to stop, and that the runtime does what the fit promised."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.judges import Ensemble, FitRules, GoldCase, PanelWeights, fit_panel, load_weights
from atlas.judges.fitting import MIN_CASES
from atlas.models import Caller
from atlas.schema import Session, Task, Verdict
from atlas.schema.errors import ConfigError, JudgeError

SessionOf = Callable[..., Session]
SKILL = {"sharp": 0.85, "fair": 0.75, "dull": 0.5, "twin of sharp": 0.85}


def gold(n: int, seed: int = 0, *, fooled_on: str | None = None) -> list[GoldCase]:
    """Judges of known skill; the twin says what `sharp` says; `fair` is mostly wrong on one key."""
    draw = random.Random(seed)
    cases: list[GoldCase] = []
    for number in range(n):
        truth, key = float(draw.random() < 0.5), draw.choice(["a", "b"])
        scores = {name: truth if draw.random() < skill else 1 - truth for name, skill in SKILL.items()}
        scores["twin of sharp"] = scores["sharp"]
        if key == fooled_on:
            scores["fair"] = 1 - truth if draw.random() < 0.95 else truth
        cases.append(GoldCase(id=str(number), key=key, gold=truth, scores=scores))
    return cases


def right(weights: PanelWeights, cases: list[GoldCase]) -> float:
    return fmean((weights.decide(case.scores, case.key)[0] > 0.5) == (case.gold == 1) for case in cases)


def test_the_sharpest_is_asked_first_and_its_twin_adds_nothing() -> None:
    weights = fit_panel(gold(400), FitRules(max_judges=2))
    assert weights.judges[0] in ("sharp", "twin of sharp")
    assert weights.judges[1] == "fair"
    assert weights.stages[1].weights[0] > weights.stages[1].weights[1] > 0


def test_a_judge_that_is_fooled_on_one_key_counts_against_itself_there() -> None:
    train, test = gold(600, fooled_on="b"), gold(600, seed=1, fooled_on="b")
    weights = fit_panel(train)
    assert right(weights, test) > fmean(case.scores["sharp"] == case.gold for case in test) + 0.01
    at = weights.judges.index("fair")
    last = weights.stages[-1]
    assert last.weights[at] + last.by_key["b"][at + 1] < 0 < last.weights[at] + last.by_key["a"][at + 1]


def test_without_signs_no_shared_weight_is_below_zero() -> None:
    cases = [
        case.model_copy(update={"scores": case.scores | {"liar": 1 - case.gold if at % 4 else case.gold}})
        for at, case in enumerate(gold(200))
    ]
    assert "liar" in fit_panel(cases).judges
    assert "liar" not in fit_panel(cases, FitRules(signed=False)).judges


def test_no_more_than_the_allowed_share_goes_beyond_the_first_judges() -> None:
    for allowed in (0.0, 0.1, 0.25):
        weights = fit_panel(gold(300), FitRules(escalation=allowed))
        assert weights.record.escalation <= allowed
        asked = [weights.decide(case.scores, case.key)[1] for case in gold(300, seed=2)]
        assert fmean(one > 2 for one in asked) <= allowed + 0.06


def weak_gold(seed: int) -> list[GoldCase]:
    """Little gold, one weak judge among noise, most answers right: nothing to gain by weighing."""
    draw = random.Random(seed)
    cases: list[GoldCase] = []
    for number in range(40):
        truth = float(draw.random() < 0.6)
        scores = {"best": truth if draw.random() < 0.7 else 1 - truth}
        scores |= {f"noise {at}": float(draw.random() < 0.5) for at in range(3)}
        cases.append(GoldCase(id=str(number), key=f"key {number % 4}", gold=truth, scores=scores))
    return cases


def test_where_weighing_gains_nothing_the_best_judge_keeps_its_word() -> None:
    kept = 0
    for seed in range(20):
        cases = weak_gold(seed)
        weights = fit_panel(cases)
        if len(weights.judges) == 1 and weights.clear == 0.0:
            judge = weights.judges[0]
            kept += weights.decide({judge: 0.5}, "key 0")[0] == pytest.approx(0.5)
        plain = max(fmean((c.scores[one] > 0.5) == (c.gold == 1) for c in cases) for one in cases[0].scores)
        assert weights.record.accuracy >= plain
    assert kept >= 5


def test_probabilities_come_true() -> None:
    weights, test = fit_panel(gold(600)), gold(2000, seed=5)
    told = [(weights.decide(case.scores, case.key)[0], case.gold) for case in test]
    sure = [truth for said, truth in told if said > 0.8]
    assert fmean(sure) == pytest.approx(fmean(said for said, _ in told if said > 0.8), abs=0.05)
    assert weights.record.calibration_error < 0.05


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (gold(MIN_CASES - 1), "too few"),
        ([case.model_copy(update={"gold": 1.0}) for case in gold(30)], "same"),
        ([case.model_copy(update={"scores": {}}) for case in gold(30)], "half"),
    ],
)
def test_gold_that_teaches_nothing_is_refused(cases: list[GoldCase], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit_panel(cases)


def test_weights_are_kept_in_a_file(tmp_path: Path) -> None:
    weights = fit_panel(gold(100))
    weights.save(tmp_path / "weights.json")
    assert load_weights(tmp_path / "weights.json") == weights
    for text in ("", "{}", '{"judges": 3}', "\x00"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConfigError, match="atlas judge calibrate"):
            load_weights(tmp_path / "bad.json")
    with pytest.raises(ConfigError, match="no judge weights"):
        load_weights(tmp_path / "absent.json")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(SKILL)), st.floats(0, 1)), st.text(max_size=3))
def test_any_scores_give_a_probability(scores: dict[str, float], key: str) -> None:
    value, asked = PANEL.decide(scores, key)
    assert 0 <= value <= 1
    assert 1 <= asked <= len(PANEL.judges)


PANEL = fit_panel(gold(200))


class Says:
    """A judge with one opinion."""

    def __init__(self, name: str, score: float | None) -> None:
        self.name = name
        self.asked = 0
        self._score = score

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        self.asked += 1
        if self._score is None:
            raise JudgeError("nothing")
        return Verdict(judge=self.name, score=self._score)


async def test_the_runtime_decides_and_stops_as_the_panel_does(session_of: SessionOf, caller: Caller) -> None:
    for case in gold(40, seed=9):
        judges = [Says(name, score) for name, score in case.scores.items()]
        session = session_of(task=Task(prompt="?", learning_key=case.key))
        reward = await Ensemble((), judges, weights=PANEL).reward(session, caller)
        value, asked = PANEL.decide(case.scores, case.key)
        assert (reward.value, len(reward.verdicts)) == (pytest.approx(value), asked)
        assert reward.escalated == (asked > PANEL.first)
        assert reward.thresholds["clear"] == PANEL.clear


async def test_a_judge_that_fails_is_read_as_usual_and_all_failing_is_no_reward(
    session_of: SessionOf, caller: Caller, trace: Any
) -> None:
    judges = [Says(name, None if name == PANEL.judges[0] else 1.0) for name in PANEL.judges]
    reward = await Ensemble((), judges, weights=PANEL).reward(session_of(), caller)
    assert reward.value is not None
    assert "judge_failed" in trace.kinds()
    silent = [Says(name, None) for name in PANEL.judges]
    reward = await Ensemble((), silent, weights=PANEL).reward(session_of(), caller)
    assert (reward.value, reward.source) == (None, "none")


def test_weights_of_other_judges_are_refused() -> None:
    with pytest.raises(ConfigError, match="not configured"):
        Ensemble((), [Says("stranger", 1.0)], weights=PANEL)
