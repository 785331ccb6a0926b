"""Tasks done both ways, allocation, many entries, and the guarantee: their promises exactly, and their speed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from atlas.evidence import (
    Gap,
    count,
    e_bh,
    e_value,
    holdout,
    in_doubt,
    lift,
    not_worse,
    observe,
    observe_pair,
)
from atlas.schema import Evidence

rates = st.floats(0.0, 1.0)
START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def histories(draw: st.DrawFn) -> Evidence:
    better, worse = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    same = draw(st.integers(0, 40))
    return Evidence(pairs=better + worse + same, pair_gain=better - worse, pair_square=better + worse)


@given(histories(), rates, rates, rates)
def test_wealth_shrinks_on_average_where_the_entry_does_nothing_or_the_opposite(
    before: Evidence, better: float, worse: float, shift: float
) -> None:
    """Summed exactly over the three results of a pair; `better` and `worse` are their chances."""
    better, worse = better / 2, worse / 2
    low, high = sorted((better, worse))

    def growth(gain: float, loss: float) -> tuple[float, float]:
        total_help = total_harm = 0.0
        for chance, with_it, without_it in ((gain, 1, 0), (loss, 0, 1), (1 - gain - loss, 1, 1)):
            after = observe_pair(before, shown=True, with_it=with_it, without_it=without_it)
            total_help += chance * math.exp(after.log_e_help)
            total_harm += chance * math.exp(after.log_e_harm)
        return total_help, total_harm

    assert growth(low, high)[0] <= 1 + 1e-9
    assert growth(high, low)[1] <= 1 + 1e-9
    assert growth(low, low) == pytest.approx((1.0, 1.0))


@given(st.lists(st.tuples(st.booleans(), rates, rates), max_size=40))
def test_pairs_count_the_session_that_was_served_and_nothing_else(stream: list[tuple[bool, float, float]]) -> None:
    seen = Evidence()
    for shown, with_it, without_it in stream:
        seen = observe_pair(seen, shown=shown, with_it=with_it, without_it=without_it)
    assert (seen.pairs, seen.n_with + seen.n_without) == (len(stream), len(stream))
    assert seen.n_with == sum(shown for shown, _, _ in stream)
    assert seen.pair_gain == pytest.approx(sum(one - other for _, one, other in stream))
    assert math.isfinite(seen.log_e_help + seen.log_e_harm)


@pytest.mark.parametrize(("with_it", "without_it"), [(1.1, 0.0), (0.0, -0.1), (math.nan, 0.0)])
def test_rewards_out_of_range_are_refused(with_it: float, without_it: float) -> None:
    with pytest.raises(ValueError, match="must lie"):
        observe_pair(Evidence(), shown=True, with_it=with_it, without_it=without_it)


def test_what_says_nothing_is_counted_without_a_bet() -> None:
    assert count(Evidence(), shown=False, reward=1.0) == Evidence(n_without=1, successes_without=1.0)


def mixed_life(rng: np.random.Generator, with_rate: float, without_rate: float, sessions: int) -> list[Evidence]:
    """An entry's evidence after each session, measured as the runtime does by default."""
    seen, path = Evidence(), []
    for _ in range(sessions):
        one = rng.random()
        other = rng.random() if rng.random() < 0.3 else one
        with_it, without_it = float(one < with_rate), float(other < without_rate)
        share = holdout(seen, 0.2)
        shown = bool(rng.random() < 1 - share)
        if in_doubt(seen):
            seen = observe_pair(seen, shown=shown, with_it=with_it, without_it=without_it)
        else:
            seen = observe(seen, shown=shown, reward=with_it if shown else without_it, propensity=1 - share)
        path.append(seen)
    return path


def test_null_entries_under_continuous_peeking() -> None:
    rng = np.random.default_rng(3)
    paths = [mixed_life(rng, 0.7, 0.7, 150) for _ in range(200)]
    assert sum(any(e_value(seen.log_e_help) >= 20 for seen in path) for path in paths) / 200 <= 0.05
    assert sum(any(e_value(seen.log_e_harm) >= 20 for seen in path) for path in paths) / 200 <= 0.05


@pytest.mark.parametrize(("with_rate", "without_rate"), [(0.75, 0.95), (0.6, 0.8), (0.4, 0.6)])
def test_an_entry_that_costs_twenty_points_is_found_within_sixty_sessions(
    with_rate: float, without_rate: float
) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(60):
        path = mixed_life(rng, with_rate, without_rate, 120)
        found.append(next((at for at, seen in enumerate(path, 1) if e_value(seen.log_e_harm) >= 20), 999))
    assert median(found) <= 60


def test_an_entry_suspected_of_harm_is_withheld_from_half_of_the_sessions() -> None:
    assert holdout(Evidence(), 0.2) == 0.2
    assert holdout(Evidence(log_e_harm=0.5), 0.2) == 0.5
    assert holdout(Evidence(log_e_harm=0.5, log_e_help=0.6), 0.2) == 0.2
    assert holdout(Evidence(log_e_harm=0.5), 0.7) == 0.7
    assert holdout(Evidence(log_e_harm=0.5), 0.0) == 0.0, "who wants no lottery gets none"


def test_the_lift_comes_from_pairs_where_there_are_enough() -> None:
    arms = Evidence(n_with=10, successes_with=9, n_without=10, successes_without=5)
    assert lift(arms) == pytest.approx(0.4)
    assert lift(arms.model_copy(update={"pairs": 4, "pair_gain": 4.0})) == pytest.approx(0.4)
    assert lift(arms.model_copy(update={"pairs": 8, "pair_gain": 2.0})) == pytest.approx(0.25)
    assert lift(Evidence(n_with=50, n_without=4)) is None


def test_e_bh_by_hand() -> None:
    logs = [math.log(e) for e in (100.0, 60.0, 20.0, 1.0)]
    assert e_bh(logs, 0.05) == (0, 1), "80 are needed for the first, 40 for each of two, 26.7 for each of three"
    assert e_bh([math.log(e) for e in (100.0, 60.0, 27.0, 1.0)], 0.05) == (0, 1, 2)
    assert e_bh([math.log(79.0)] + [0.0] * 3, 0.05) == ()
    assert e_bh([], 0.05) == ()
    with pytest.raises(ValueError, match="alpha"):
        e_bh([0.0], 0.0)


@given(st.lists(st.floats(-5, 12), max_size=30), st.floats(0.01, 0.5))
def test_e_bh_is_the_step_up_procedure_on_inverse_e_values(logs: list[float], alpha: float) -> None:
    """The oracle: Benjamini and Hochberg's procedure of scipy on p = 1/e."""
    if not logs:
        return
    p_values = np.minimum(1.0, np.exp(-np.asarray(logs)))
    adjusted = stats.false_discovery_control(p_values, method="bh")
    certain = [at for at, p in enumerate(adjusted) if p <= alpha * (1 - 1e-9)]
    possible = [at for at, p in enumerate(adjusted) if p <= alpha * (1 + 1e-9)]
    assert set(certain) <= set(e_bh(logs, alpha)) <= set(possible)


def gaps(rng: np.random.Generator, gain: float, tasks: int) -> list[Gap]:
    found = []
    for number in range(tasks):
        one = rng.random()
        other = rng.random() if rng.random() < 0.3 else one
        value = float(one < 0.7 + gain) - float(other < 0.7)
        found.append(Gap(value=value, at=START + timedelta(minutes=number)))
    return found


def test_the_guarantee_is_not_given_to_an_agent_that_lost_the_margin() -> None:
    rng = np.random.default_rng(5)
    held = sum(not_worse(gaps(rng, -0.05, 300), delta=0.05).holds for _ in range(200))
    assert held / 200 <= 0.05


def test_the_guarantee_says_since_when() -> None:
    found = not_worse(gaps(np.random.default_rng(6), 0.1, 300), delta=0.05)
    assert found.holds
    assert found.since is not None
    assert START < found.since <= START + timedelta(minutes=200)
    assert found.estimate == pytest.approx(0.1, abs=0.06)
    assert found.peak >= max(20.0, found.e_value)
    later = not_worse(gaps(np.random.default_rng(6), 0.1, 300)[:5], delta=0.05)
    assert (later.holds, later.since) == (False, None)


def test_an_agent_that_is_never_different_is_soon_called_not_worse() -> None:
    same = [Gap(value=0.0, at=START)] * 200
    assert not_worse(same, delta=0.05).holds
    assert not not_worse(same[:10], delta=0.05).holds
    assert not_worse([], delta=0.05).estimate is None


def test_impossible_readings_are_refused() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        not_worse([Gap(value=1.5, at=START)], delta=0.05)
    with pytest.raises(ValueError, match="delta"):
        not_worse([], delta=0.0)
