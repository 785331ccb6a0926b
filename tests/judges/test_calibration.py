"""Statistics about judges: right on cases whose answer is known, and honest about how much is known."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.judges import GoldCase
from atlas.judges.calibration import (
    agreement_of,
    cohen_kappa,
    drift_of,
    length_bias,
    position_bias,
    powered_mean,
    report_of,
    self_preference,
)


def test_kappa_is_chance_corrected() -> None:
    judge, gold = [1.0] * 25 + [0.0] * 25, [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    assert cohen_kappa(judge, gold).mean == pytest.approx(0.4)
    always = cohen_kappa([1.0] * 50, [1.0] * 40 + [0.0] * 10)
    assert always.mean == pytest.approx(0.0)
    assert cohen_kappa([1.0] * 5, [1.0] * 5).mean == 0.0
    perfect = cohen_kappa([1.0, 0.0] * 10, [1.0, 0.0] * 10)
    assert perfect.low < 0.8 < perfect.mean == perfect.high == 1.0


def test_agreement_counts_sides_and_the_middle_by_half() -> None:
    told = agreement_of([0.9, 0.1, 0.5, 0.8], [1, 0, 1, 0])
    assert told.agreement.mean == pytest.approx(2.5 / 4)
    assert told.agreement.low < 2.5 / 4 < told.agreement.high
    assert agreement_of([0.9], [1]).auroc is None


def test_a_boaster_is_mended_by_its_map() -> None:
    draw = random.Random(0)
    gold = [float(draw.random() < 0.6) for _ in range(800)]
    scores = [0.95 if draw.random() < (0.8 if truth else 0.5) else 0.85 for truth in gold]
    told = agreement_of(scores, gold)
    assert told.raw_error > 0.2
    assert told.mapped_error < 0.08
    assert told.mapping(0.95) == pytest.approx(
        fmean(t for s, t in zip(scores, gold, strict=True) if s == 0.95), abs=0.02
    )


def test_biases_are_found_with_their_sign_and_are_none_where_there_are_none() -> None:
    draw = random.Random(1)
    gold = [float(draw.random() < 0.5) for _ in range(600)]
    lengths = [draw.randint(10, 1000) for _ in gold]
    own = [draw.random() < 0.5 for _ in gold]
    fair = [0.2 + 0.6 * truth + draw.uniform(-0.1, 0.1) for truth in gold]
    wordy = [score + (0.1 if length > 500 else 0.0) for score, length in zip(fair, lengths, strict=True)]
    vain = [score + 0.1 * mine for score, mine in zip(fair, own, strict=True)]
    assert length_bias(fair, gold, lengths).low < 0 < length_bias(fair, gold, lengths).high
    assert length_bias(wordy, gold, lengths).low > 0.05
    assert self_preference(fair, gold, own).low < 0 < self_preference(fair, gold, own).high
    assert self_preference(vain, gold, own).low > 0.05
    assert position_bias([0.8] * 50, [0.5] * 50).mean == pytest.approx(0.3)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: position_bias([], []),
        lambda: length_bias([0.5], [1.0], [3]),
        lambda: length_bias([], [], []),
        lambda: self_preference([0.5, 0.6], [1, 0], [True, True]),
        lambda: powered_mean([1.0], [1.0], [1.0]),
        lambda: agreement_of([], []),
    ],
)
def test_what_cannot_be_measured_is_refused(measure: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        measure()  # type: ignore[operator]


def world(n: int, draw: random.Random, *, useless: bool) -> tuple[list[float], list[float]]:
    """Truth and a lenient judge's word; a useless judge's word has nothing to do with the truth."""
    truth = [float(draw.random() < 0.6) for _ in range(n)]
    return truth, [float(draw.random() < (0.8 if useless or one else 0.3)) for one in truth]


@pytest.mark.parametrize("useless", [False, True])
def test_the_powered_mean_covers_the_truth_and_is_narrower_only_with_a_good_judge(useless: bool) -> None:
    draw = random.Random(4)
    covered, ours, plain = 0, [], []
    for _ in range(200):
        gold, judged = world(60, draw, useless=useless)
        _, others = world(1500, draw, useless=useless)
        found = powered_mean(gold, judged, others)
        covered += found.low <= 0.6 <= found.high
        ours.append(found.high - found.low)
        alone = powered_mean(gold, judged, [])
        plain.append(alone.high - alone.low)
    assert covered / 200 > 0.88
    assert fmean(ours) < fmean(plain) * (1.02 if useless else 0.95)


def test_drift_is_called_when_a_judge_grows_lenient_and_not_before() -> None:
    draw = random.Random(2)
    before = [draw.choice([0.2, 0.6, 0.8]) for _ in range(200)]
    same = drift_of(before, [draw.choice([0.2, 0.6, 0.8]) for _ in range(500)])
    lenient = drift_of(before, [draw.choice([0.8, 0.9, 1.0]) for _ in range(200)])
    assert same is not None
    assert same.alarm_after is None
    assert lenient is not None
    assert lenient.alarm_after is not None
    assert lenient.alarm_after < 100
    assert drift_of(before[:10], before) is None
    assert drift_of(before, []) is None


def test_a_steady_judge_is_hardly_ever_called_drifting() -> None:
    draw = random.Random(3)
    alarms = 0
    for _ in range(60):
        found = drift_of([draw.random() for _ in range(60)], [draw.random() for _ in range(120)])
        alarms += found is not None and found.alarm_after is not None
    assert alarms <= 2


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_any_record_gives_a_report(record: list[tuple[float, float]]) -> None:
    told = agreement_of([one for one, _ in record], [truth for _, truth in record])
    assert 0 <= told.agreement.mean <= 1
    assert -1 <= told.kappa.low <= told.kappa.high <= 1
    assert 0 <= told.raw_error <= 1
    assert sum(one.n for one in told.bins) == len(record)


def test_a_report_measures_what_the_cases_allow() -> None:
    cases = [
        GoldCase(
            id=str(n),
            gold=float(n % 2),
            scores={"openai:big@0.2": 0.8 if n % 2 else 0.3} if n else {},
            swapped={"openai:big@0.2": 0.6 if n % 2 else 0.1} if n else {},
            length=n,
            author="big" if n % 3 else "small",
        )
        for n in range(40)
    ]
    told = report_of("openai:big@0.2", cases)
    assert told is not None
    assert (told.n, told.missing) == (39, 1)
    assert told.agreement.agreement.mean == 1.0
    assert told.position is not None
    assert told.position.mean == pytest.approx(0.2)
    assert told.length is not None
    assert told.own is not None
    bare = report_of("a", [GoldCase(id="1", gold=1.0, scores={"a": 1.0})])
    assert bare is not None
    assert (bare.position, bare.length, bare.own) == (None, None, None)
    assert report_of("nobody", cases) is None
