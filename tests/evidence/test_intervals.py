"""Intervals against scipy, and their promises by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from atlas.evidence import (
    bootstrap_mean,
    confidence_sequence,
    mcnemar_exact,
    paired_difference,
    rate_difference,
    wilson,
    wilson_lower,
)

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_equals_scipy(count: tuple[int, int], confidence: float) -> None:
    successes, n = count
    ours = wilson(successes, n, confidence)
    oracle = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert ours.low == pytest.approx(oracle.low, abs=1e-9)
    assert ours.high == pytest.approx(oracle.high, abs=1e-9)
    assert ours.low <= ours.mean <= ours.high


@given(counts)
def test_the_one_sided_bound_is_the_lower_end_of_the_wider_interval(count: tuple[int, int]) -> None:
    successes, n = count
    oracle = stats.binomtest(successes, n, alternative="greater").proportion_ci(0.95, method="wilson")
    assert wilson_lower(successes, n, 0.95) == pytest.approx(oracle.low, abs=1e-9)


def test_nothing_observed_says_nothing() -> None:
    assert wilson_lower(0, 0) == 0.0
    nothing = wilson(0, 0)
    assert (nothing.low, nothing.high, nothing.n) == (0.0, 1.0, 0)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 5), (1, -1), (math.nan, 3)])
def test_an_impossible_count_is_refused(successes: float, n: int) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        wilson_lower(successes, n)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_scipy(better: int, worse: int) -> None:
    oracle = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert mcnemar_exact(better, worse) == pytest.approx(oracle, abs=1e-12)


def test_the_bootstrap_is_seeded_and_near_the_t_interval() -> None:
    values = list(np.random.default_rng(3).normal(0.4, 0.1, 200))
    ours = bootstrap_mean(values, seed=1)
    assert ours == bootstrap_mean(values, seed=1)
    oracle = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx(oracle, abs=0.003)


def test_a_paired_difference_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        control = generator.random(60) < 0.6
        treated = np.where(generator.random(60) < 0.2, True, control)
        interval = paired_difference(list(map(float, treated)), list(map(float, control)))
        hits += interval.low <= 0.4 * 0.2 <= interval.high
    assert hits / 600 >= 0.94


def test_pairs_that_all_agree_still_leave_doubt() -> None:
    interval = paired_difference([1.0] * 20, [1.0] * 20)
    assert interval.mean == 0.0
    assert interval.low < -0.05 < 0.05 < interval.high


def test_unequal_or_empty_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        paired_difference([1.0], [])
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([])


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_a_confidence_sequence_covers_at_every_look_at_once(rate: float) -> None:
    generator = np.random.default_rng(7)
    misses = 0
    for _ in range(150):
        values = (generator.random(150) < rate).astype(float)
        misses += any(not i.low <= rate <= i.high for i in confidence_sequence(list(values), 0.9))
    assert misses / 150 <= 0.1


def test_a_confidence_sequence_only_narrows_and_ends_narrow() -> None:
    values = (np.random.default_rng(1).random(1000) < 0.3).astype(float)
    intervals = confidence_sequence(list(values))
    widths = [interval.high - interval.low for interval in intervals]
    assert all(later <= earlier for earlier, later in itertools.pairwise(widths))
    assert widths[-1] < 0.14
    assert intervals[-1].mean == pytest.approx(values.mean())


def test_a_confidence_sequence_refuses_values_outside_its_range() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        confidence_sequence([0.5, 1.5])


def test_the_difference_of_two_rates_as_published() -> None:
    """Newcombe 1998, table II, method 10: 56/70 against 48/80, and 9/10 against 3/10."""
    found = rate_difference((56, 70), (48, 80))
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    found = rate_difference((9, 10), (3, 10))
    assert (found.low, found.high) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert rate_difference((0, 0), (0, 0)).low == -1.0
