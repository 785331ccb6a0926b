"""What sways a judge beside the truth: position, length, its own kind. Each as a mean with an interval; 0 is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, median, variance

from atlas.evidence.intervals import Interval


def position_bias(shown_first: Sequence[float], shown_second: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """How much better the same output scores when it is shown first; scores of one output in both orders.

    Raises:
        ValueError: there is no pair, or the lengths differ.
    """
    gaps = [one - other for one, other in zip(shown_first, shown_second, strict=True)]
    if not gaps:
        raise ValueError("a position bias needs a pair scored in both orders")
    return _mean(gaps, confidence)


def length_bias(
    scores: Sequence[float], gold: Sequence[float], lengths: Sequence[float], *, confidence: float = 0.95
) -> Interval:
    """How much more the longer half of the answers is overrated than the shorter half.

    Raises:
        ValueError: all answers are equally long, or the lengths of the lists differ.
    """
    middle = median(lengths)
    above = max(lengths, default=0.0) > middle
    long = [length > middle if above else length >= middle for length in lengths]
    return _contrast(scores, gold, long, confidence)


def self_preference(
    scores: Sequence[float], gold: Sequence[float], own: Sequence[bool], *, confidence: float = 0.95
) -> Interval:
    """How much more a judge overrates answers of its own model than those of others.

    Raises:
        ValueError: all answers, or none, are its own.
    """
    return _contrast(scores, gold, own, confidence)


def _contrast(scores: Sequence[float], gold: Sequence[float], marked: Sequence[bool], confidence: float) -> Interval:
    errors = [score - truth for score, truth in zip(scores, gold, strict=True)]
    inside = [error for error, mark in zip(errors, marked, strict=True) if mark]
    outside = [error for error, mark in zip(errors, marked, strict=True) if not mark]
    if not inside or not outside:
        raise ValueError("a bias needs cases of both kinds")
    spread = _spread(inside) / len(inside) + _spread(outside) / len(outside)
    mean = fmean(inside) - fmean(outside)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(spread)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=len(errors))


def _mean(values: Sequence[float], confidence: float) -> Interval:
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(_spread(values) / len(values))
    mean = fmean(values)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=len(values))


def _spread(values: Sequence[float]) -> float:
    """Variance; of a single value the largest that scores in [0, 1] can have."""
    return variance(values) if len(values) > 1 else 1.0
