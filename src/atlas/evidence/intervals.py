"""Intervals and exact tests for rates and means: what every reported number comes with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from atlas.schema import Noun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Interval(Noun):
    """An estimate with its uncertainty."""

    mean: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    n: int
    """Independent observations behind it."""


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Two-sided score interval of a success rate; [0, 1] where nothing was observed.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    if n == 0:
        return Interval(mean=0.5, low=0.0, high=1.0, n=0)
    z = _z((1 + confidence) / 2)
    low, high = _score_bounds(_rate(successes, n), n, z)
    return Interval(mean=successes / n, low=low, high=high, n=n)


def wilson_lower(successes: float, n: int, confidence: float = 0.95) -> float:
    """One-sided lower bound of a success rate: the truth is above it with probability `confidence`; 0 without data."""
    if n == 0:
        return 0.0
    return _score_bounds(_rate(successes, n), n, _z(confidence))[0]


def _rate(successes: float, n: int) -> float:
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is not a rate")
    return successes / n


def _z(quantile: float) -> float:
    return NormalDist().inv_cdf(quantile)


def _score_bounds(rate: float, n: int, z: float) -> tuple[float, float]:
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return (0.0 if rate == 0 else max(0.0, centre - half)), (1.0 if rate == 1 else min(1.0, centre + half))


def bootstrap_mean(values: Sequence[float], confidence: float = 0.95, *, seed: int = 0, draws: int = 2000) -> Interval:
    """Percentile bootstrap interval of a mean; the same seed gives the same interval.

    Values that do not vary give an interval of width zero: use `wilson` for rates near 0 or 1.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    import numpy as np

    _need(values)
    sample = np.asarray(values, dtype=float)
    generator = np.random.default_rng(seed)
    means = [float(generator.choice(sample, len(sample)).mean()) for _ in range(draws)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean=fmean(values), low=float(low), high=float(high), n=len(values))


def paired_difference(treated: Sequence[float], control: Sequence[float], confidence: float = 0.95) -> Interval:
    """Interval of the mean of treated - control over pairs, values in [0, 1].

    One pseudo-pair of +1 and one of -1 keep it honest where all pairs agree; on 0/1 values this is the adjusted Wald
    interval of Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37.
    """
    if len(treated) != len(control):
        raise ValueError(f"{len(treated)} treated and {len(control)} control values are not pairs")
    _need(treated)
    gaps = [one - other for one, other in zip(treated, control, strict=True)]
    n = len(gaps) + 2
    centre = sum(gaps) / n
    variance = max(0.0, (sum(gap * gap for gap in gaps) + 2) / n - centre * centre)
    half = _z((1 + confidence) / 2) * math.sqrt(variance / n)
    return Interval(mean=fmean(gaps), low=max(-1.0, centre - half), high=min(1.0, centre + half), n=len(gaps))


def rate_difference(one: tuple[float, int], other: tuple[float, int], confidence: float = 0.95) -> Interval:
    """Interval of the difference of two independent success rates, each given as (successes, n).

    [-1, 1] where one of them was not observed.

    Source: Newcombe 1998, Statistics in Medicine 17, method 10 (hybrid of two Wilson intervals).
    """
    if not one[1] or not other[1]:
        return Interval(mean=0.0, low=-1.0, high=1.0, n=one[1] + other[1])
    first, second = wilson(*one, confidence), wilson(*other, confidence)
    gap = first.mean - second.mean
    low = gap - math.hypot(first.mean - first.low, second.high - second.mean)
    high = gap + math.hypot(first.high - first.mean, second.mean - second.low)
    return Interval(mean=gap, low=max(-1.0, low), high=min(1.0, high), n=one[1] + other[1])


def mcnemar_exact(better: int, worse: int) -> float:
    """Two-sided exact p-value that `better` and `worse` discordant pairs come from a fair coin.

    Source: McNemar 1947, Psychometrika 12; exact binomial form.
    """
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**n)


def _need(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("an interval needs at least one value")


_GRID = 1000
_BET_CAP = 0.5


def confidence_sequence(values: Sequence[float], confidence: float = 0.95) -> list[Interval]:
    """Intervals of a mean in [0, 1] after each value, all of them true together with probability `confidence`.

    One may look after every observation and stop at will. Values are independent or have the same conditional mean.

    Source: hedged capital process of Waudby-Smith and Ramdas, arXiv 2010.09686, theorem 3 and section 4.2.
    """
    import numpy as np

    if any(not 0 <= value <= 1 for value in values):
        raise ValueError("a confidence sequence needs values in [0, 1]")
    means: NDArray[np.float64] = np.linspace(0, 1, _GRID + 1)
    log_up, log_down = np.zeros_like(means), np.zeros_like(means)
    alive = np.ones_like(means, dtype=bool)
    alpha = 1 - confidence
    total, spread, variance = 0.5, 0.25, 0.25
    intervals: list[Interval] = []
    for t, value in enumerate(values, start=1):
        bet = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1)))
        with np.errstate(divide="ignore"):
            up, down = np.minimum(bet, _BET_CAP / means), np.minimum(bet, _BET_CAP / (1 - means))
        log_up += np.log1p(up * (value - means))
        log_down += np.log1p(-down * (value - means))
        alive &= np.maximum(log_up, log_down) - math.log(2) < -math.log(alpha)
        total += value
        estimate = total / (t + 1)
        spread += (value - estimate) ** 2
        variance = spread / (t + 1)
        intervals.append(_hull(means[alive], mean=(total - 0.5) / t, n=t))
    return intervals


def _hull(alive: NDArray[np.float64], *, mean: float, n: int) -> Interval:
    """The kept means, one grid step wider on each side; the estimate alone when none is left."""
    step = 1 / _GRID
    low = float(alive[0]) - step if len(alive) else mean - step
    high = float(alive[-1]) + step if len(alive) else mean + step
    return Interval(mean=mean, low=max(0.0, low), high=min(1.0, high), n=n)
