"""Statements and outcomes: ranking, calibration error, the monotone map; and the regression behind fitted weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.evidence.logistic import fit_logistic, log_loss, sigmoid
from atlas.evidence.reliability import auroc, brier, calibration_error, isotonic, reliability

RECORDS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60)


def test_auroc_counts_pairs_with_ties_half() -> None:
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert auroc([0.5, 0.5, 0.5], [0, 1, 0]) == 0.5


@given(RECORDS)
def test_auroc_is_the_share_of_ordered_pairs(record: list[tuple[float, bool]]) -> None:
    stated, outcomes = [one for one, _ in record], [float(hit) for _, hit in record]
    if len(set(outcomes)) < 2:
        with pytest.raises(ValueError, match="at least one"):
            auroc(stated, outcomes)
        return
    wins = [one for one, hit in record if hit]
    losses = [one for one, hit in record if not hit]
    pairs = [(win > loss) + 0.5 * (win == loss) for win in wins for loss in losses]
    assert auroc(stated, outcomes) == pytest.approx(sum(pairs) / len(pairs))


def test_a_calibrated_forecaster_has_no_error_and_a_boaster_has() -> None:
    assert calibration_error([0.25] * 4 + [0.75] * 4, [0, 0, 0, 1, 1, 1, 1, 0]) == 0.0
    assert calibration_error([0.9] * 10, [1, 0] * 5) == pytest.approx(0.4)
    assert brier([1.0, 0.0], [1, 1]) == 0.5


@given(RECORDS, st.integers(1, 12))
def test_bins_hold_everything_once_in_order(record: list[tuple[float, bool]], bins: int) -> None:
    stated, outcomes = [one for one, _ in record], [float(hit) for _, hit in record]
    told = reliability(stated, outcomes, bins=bins)
    assert sum(one.n for one in told) == len(record)
    assert [one.stated for one in told] == sorted(one.stated for one in told)
    assert 0 <= calibration_error(stated, outcomes, bins=bins) <= 1


@given(RECORDS)
def test_the_map_never_falls_and_stays_inside(record: list[tuple[float, bool]]) -> None:
    stated, outcomes = [one for one, _ in record], [float(hit) for _, hit in record]
    mapped = isotonic(stated, outcomes)
    values = [mapped(at / 50) for at in range(51)]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values)


def test_the_map_mends_overconfidence() -> None:
    generator = np.random.default_rng(1)
    truth = generator.uniform(0.3, 0.7, 4000)
    outcomes = (generator.random(4000) < truth).astype(float)
    stated = sigmoid(4 * np.log(truth / (1 - truth)))
    mapped = isotonic(stated[:2000].tolist(), outcomes[:2000].tolist())
    before = calibration_error(stated[2000:].tolist(), outcomes[2000:].tolist())
    after = calibration_error([mapped(one) for one in stated[2000:].tolist()], outcomes[2000:].tolist())
    assert before > 0.1
    assert after < 0.06


def test_the_regression_agrees_with_a_general_optimiser() -> None:
    from scipy.optimize import minimize

    generator = np.random.default_rng(0)
    design = np.column_stack([np.ones(80), generator.normal(size=(80, 3))])
    targets = generator.random(80)
    penalty = np.array([0.1, 1.0, 2.0, 3.0])

    def loss(weights: np.ndarray) -> float:
        return 80 * log_loss(design @ weights, targets) + 0.5 * float(penalty @ weights**2)

    oracle = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    assert fit_logistic(design, targets, penalty) == pytest.approx(oracle, abs=1e-4)


def test_perfectly_separated_data_still_has_an_answer() -> None:
    design = np.array([[1.0, -1.0], [1.0, 1.0]] * 50)
    weights = fit_logistic(design, np.array([0.0, 1.0] * 50), [0.5, 0.5])
    assert np.isfinite(weights).all()
    assert weights[1] > 1


@pytest.mark.parametrize(("rows", "penalty"), [(0, [1.0]), (3, [0.0]), (3, [1.0, 1.0])])
def test_a_fit_that_has_no_answer_is_refused(rows: int, penalty: list[float]) -> None:
    with pytest.raises(ValueError, match="penalt"):
        fit_logistic(np.ones((rows, 1)), np.ones(rows), penalty)
