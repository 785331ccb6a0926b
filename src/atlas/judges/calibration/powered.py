"""The mean of what is true, from many judged sessions and a few whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, covariance, fmean, variance

from atlas.evidence.intervals import Interval


def powered_mean(
    gold: Sequence[float], judged: Sequence[float], others: Sequence[float], *, confidence: float = 0.95
) -> Interval:
    """Mean truth over all sessions: `gold` with the judge's word on the same sessions, and its word on the others.

    Asymptotically valid however bad the judge is; the better it is, the narrower. The judge's weight is the one with
    the least variance, so a useless judge is left out.

    Source: prediction-powered inference, arXiv 2301.09633; with power tuning, arXiv 2311.01453, example 6.1.

    Raises:
        ValueError: fewer than two gold cases, or gold and judged differ in length.
    """
    n, many = len(gold), len(others)
    if n < 2 or n != len(judged):
        raise ValueError(f"{n} gold values with {len(judged)} judged ones are too few or no pairs")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    if many < 2:
        half = z * math.sqrt(variance(gold) / n)
        return Interval(mean=fmean(gold), low=fmean(gold) - half, high=fmean(gold) + half, n=n)
    spread = variance([*judged, *others])
    weight = 0.0 if spread == 0 else covariance(gold, judged) / ((1 + n / many) * spread)
    weight = min(1.0, max(0.0, weight))
    rest = [truth - weight * said for truth, said in zip(gold, judged, strict=True)]
    mean = fmean(rest) + weight * fmean(others)
    half = z * math.sqrt(variance(rest) / n + weight * weight * variance(others) / many)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n + many)
