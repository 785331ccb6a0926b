"""The e-process: its promise exactly, its error rate under peeking, its speed."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.evidence import e_value, observe
from atlas.schema import Evidence

rates = st.floats(0.0, 1.0)
propensities = st.floats(0.02, 0.98)


@st.composite
def histories(draw: st.DrawFn) -> Evidence:
    n_with, n_without = draw(st.integers(0, 200)), draw(st.integers(0, 200))
    return Evidence(
        n_with=n_with,
        successes_with=draw(rates) * n_with,
        n_without=n_without,
        successes_without=draw(rates) * n_without,
    )


def expected_growth(before: Evidence, propensity: float, with_rate: float, without_rate: float) -> tuple[float, float]:
    """Mean factor of the help and the harm wealth over one session, summed exactly over its four outcomes."""
    help_growth = harm_growth = 0.0
    for shown, chance, rate in ((True, propensity, with_rate), (False, 1 - propensity, without_rate)):
        for reward, likely in ((1.0, rate), (0.0, 1 - rate)):
            after = observe(before, shown=shown, reward=reward, propensity=propensity)
            help_growth += chance * likely * math.exp(after.log_e_help)
            harm_growth += chance * likely * math.exp(after.log_e_harm)
    return help_growth, harm_growth


@given(histories(), propensities, rates)
def test_an_entry_without_effect_wins_nothing_on_average(before: Evidence, propensity: float, rate: float) -> None:
    assert expected_growth(before, propensity, rate, rate) == pytest.approx((1.0, 1.0))


@given(histories(), propensities, rates, rates)
def test_wealth_shrinks_on_average_under_its_null(before: Evidence, propensity: float, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert expected_growth(before, propensity, low, high)[0] <= 1 + 1e-9
    assert expected_growth(before, propensity, high, low)[1] <= 1 + 1e-9


@given(st.lists(st.tuples(st.booleans(), rates, propensities), max_size=60))
def test_wealth_stays_positive_and_counts_add_up(stream: list[tuple[bool, float, float]]) -> None:
    evidence = Evidence()
    for shown, reward, propensity in stream:
        evidence = observe(evidence, shown=shown, reward=reward, propensity=propensity)
    assert math.isfinite(evidence.log_e_help)
    assert math.isfinite(evidence.log_e_harm)
    assert evidence.n_with == sum(shown for shown, _, _ in stream)
    assert evidence.n_with + evidence.n_without == len(stream)


@pytest.mark.parametrize(("reward", "propensity"), [(1.1, 0.5), (-0.1, 0.5), (math.nan, 0.5), (1.0, 0.0), (1.0, 1.1)])
def test_numbers_out_of_range_are_refused(reward: float, propensity: float) -> None:
    with pytest.raises(ValueError, match="must lie"):
        observe(Evidence(), shown=True, reward=reward, propensity=propensity)


def test_what_had_to_be_shown_is_counted_and_not_bet_on() -> None:
    evidence = observe(Evidence(), shown=True, reward=0.2, propensity=1.0)
    assert evidence == Evidence(n_with=1, successes_with=0.2, failures_with=1, failures_in_row=1)
    with pytest.raises(ValueError, match="must lie"):
        observe(Evidence(), shown=False, reward=0.2, propensity=1.0)


def test_failures_in_a_row_are_counted_and_forgotten_on_success() -> None:
    evidence = Evidence()
    for reward in (0.0, 0.2):
        evidence = observe(evidence, shown=True, reward=reward, propensity=0.5)
    assert observe(evidence, shown=False, reward=1.0, propensity=0.5).failures_in_row == 2
    assert observe(evidence, shown=True, reward=1.0, propensity=0.5).failures_in_row == 0


def test_a_huge_log_is_infinite_not_an_error() -> None:
    assert e_value(0.0) == 1.0
    assert e_value(1e6) == math.inf


def first_alarm(
    generator: np.random.Generator, with_rate: float, without_rate: float, propensity: float, sessions: int
) -> tuple[int | None, int | None]:
    """The session at which help and harm reach an e-value of 20, looking after every one."""
    evidence, helped, harmed = Evidence(), None, None
    for number in range(1, sessions + 1):
        shown = bool(generator.random() < propensity)
        reward = float(generator.random() < (with_rate if shown else without_rate))
        evidence = observe(evidence, shown=shown, reward=reward, propensity=propensity)
        helped = helped or (number if e_value(evidence.log_e_help) >= 20 else None)
        harmed = harmed or (number if e_value(evidence.log_e_harm) >= 20 else None)
    return helped, harmed


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_null_entries_under_continuous_peeking(rate: float) -> None:
    generator = np.random.default_rng(11)
    alarms = [first_alarm(generator, rate, rate, 0.7, 120) for _ in range(300)]
    assert sum(helped is not None for helped, _ in alarms) / 300 <= 0.05
    assert sum(harmed is not None for _, harmed in alarms) / 300 <= 0.05


@pytest.mark.parametrize(
    ("with_rate", "without_rate", "propensity", "within"),
    [(0.0, 1.0, 0.7, 15), (0.0, 1.0, 0.5, 12), (0.8, 1.0, 0.5, 60), (0.75, 0.95, 0.5, 80), (0.4, 0.9, 0.7, 35)],
)
def test_harm_is_found_in_time(with_rate: float, without_rate: float, propensity: float, within: int) -> None:
    generator = np.random.default_rng(5)
    found = [first_alarm(generator, with_rate, without_rate, propensity, 200)[1] or 10_000 for _ in range(60)]
    assert median(found) <= within


def test_a_strong_lesson_is_found_within_a_score_of_sessions() -> None:
    generator = np.random.default_rng(5)
    found = [first_alarm(generator, 1.0, 0.25, 0.7, 100)[0] or 10_000 for _ in range(60)]
    assert median(found) <= 18
