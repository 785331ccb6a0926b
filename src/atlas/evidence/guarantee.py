"""Is the learnt agent worse than the baseline by more than a margin? An e-process that answers at any time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

from atlas.schema import Noun

_BET_CAP = 0.5
"""Share of the wealth that the worst outcome may cost."""
_PRIOR_WEIGHT = 5.0
"""Observations that the first guess of mean and spread weighs."""


class Gap(Noun):
    """One unbiased reading of the learnt agent's reward less the baseline's."""

    value: float
    """The reading; its mean is the true difference."""
    at: datetime
    """When (UTC)."""


class Guarantee(Noun):
    """What can be said with confidence about the learnt agent against the baseline arm."""

    delta: float
    """The margin: a loss of reward that would still be called not worse."""
    confidence: float
    """Of the statement, under continuous looking."""
    holds: bool
    """Whether it has been shown that the loss is smaller than delta."""
    since: datetime | None
    """When that was first shown; what was shown once stays shown for the sessions until then (UTC)."""
    sessions: int
    """Readings behind it."""
    e_value: float
    """Evidence now against 'worse by more than delta'."""
    peak: float
    """The largest it has been; at 1 / (1 - confidence) the statement holds."""
    estimate: float | None
    """Mean of the readings: the estimated gain in reward; None without one."""


def not_worse(gaps: Iterable[Gap], *, delta: float, bound: float = 1.0, confidence: float = 0.95) -> Guarantee:
    """Bet against 'the mean reading is at most -delta', reading by reading, in their order; none exceeds `bound`.

    Wealth is multiplied by 1 + stake * (value + delta), with a stake from earlier readings only, so that under that
    null it ever reaches 1 / (1 - confidence) with probability at most 1 - confidence (Ville).

    Source: testing by betting, Waudby-Smith and Ramdas, arXiv 2010.09686; the stake is the mean over the mean square of
    what came before (its aGRAPA).
    """
    if not 0 < delta < 1 <= bound or not 0 < confidence < 1:
        raise ValueError(f"delta {delta} and confidence {confidence} must lie in (0, 1), bound {bound} not below 1")
    goal = -math.log(1 - confidence)
    wealth = peak = 0.0
    total, square, n = 0.0, 0.0, 0
    since: datetime | None = None
    for gap in gaps:
        if abs(gap.value) > bound + 1e-9:
            raise ValueError(f"a reading of {gap.value} exceeds its bound {bound}")
        mean = (total + _PRIOR_WEIGHT * delta) / (n + _PRIOR_WEIGHT)
        spread = (square + _PRIOR_WEIGHT * 0.25) / (n + _PRIOR_WEIGHT)
        stake = min(max(0.0, mean / spread), _BET_CAP / (bound - delta))
        shifted = gap.value + delta
        wealth += math.log1p(stake * shifted)
        total, square, n = total + shifted, square + shifted * shifted, n + 1
        peak = max(peak, wealth)
        if since is None and wealth >= goal:
            since = gap.at
    return Guarantee(
        delta=delta,
        confidence=confidence,
        holds=since is not None,
        since=since,
        sessions=n,
        e_value=_exp(wealth),
        peak=_exp(peak),
        estimate=total / n - delta if n else None,
    )


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf
