"""How well stated probabilities come true: ranking, calibration error, and the monotone map that mends it."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from statistics import fmean

from atlas.schema import Noun


class Bin(Noun):
    """One bar of a reliability plot."""

    stated: float
    """Mean of the probabilities in it."""
    observed: float
    """Mean of their outcomes."""
    n: int
    """How many."""


def auroc(stated: Sequence[float], outcomes: Sequence[float]) -> float:
    """Probability that a success was given a higher number than a failure, ties half; an outcome from 0.5 is a success.

    Source: Hanley and McNeil 1982, Radiology 143.

    Raises:
        ValueError: there is no success, or no failure, or the lengths differ.
    """
    pairs = sorted(zip(stated, outcomes, strict=True))
    wins = sum(outcome >= 0.5 for _, outcome in pairs)
    losses = len(pairs) - wins
    if not wins or not losses:
        raise ValueError("AUROC needs at least one success and one failure")
    rank_sum, at = 0.0, 0
    while at < len(pairs):
        end = at
        while end < len(pairs) and pairs[end][0] == pairs[at][0]:
            end += 1
        rank_sum += (at + end + 1) / 2 * sum(outcome >= 0.5 for _, outcome in pairs[at:end])
        at = end
    return (rank_sum - wins * (wins + 1) / 2) / (wins * losses)


def brier(stated: Sequence[float], outcomes: Sequence[float]) -> float:
    """Mean squared distance of probabilities from outcomes. Source: Brier 1950, Monthly Weather Review 78."""
    _need(stated, outcomes)
    return fmean((one - other) ** 2 for one, other in zip(stated, outcomes, strict=True))


def reliability(stated: Sequence[float], outcomes: Sequence[float], *, bins: int = 10) -> tuple[Bin, ...]:
    """Bins of (nearly) equal counts, in the order of the stated probability; equal statements share a bin."""
    _need(stated, outcomes)
    pairs = sorted(zip(stated, outcomes, strict=True))
    size = max(1, -(-len(pairs) // bins))
    found: list[Bin] = []
    at = 0
    while at < len(pairs):
        end = min(at + size, len(pairs))
        while end < len(pairs) and pairs[end][0] == pairs[end - 1][0]:
            end += 1
        part = pairs[at:end]
        found.append(Bin(stated=fmean(one for one, _ in part), observed=fmean(one for _, one in part), n=len(part)))
        at = end
    return tuple(found)


def calibration_error(stated: Sequence[float], outcomes: Sequence[float], *, bins: int = 10) -> float:
    """Expected calibration error over bins of equal counts.

    Source: Naeini, Cooper and Hauskrecht 2015 (AAAI), with equal-mass bins as in arXiv 1909.10155.
    """
    told = reliability(stated, outcomes, bins=bins)
    return sum(one.n * abs(one.stated - one.observed) for one in told) / len(stated)


class MonotoneMap(Noun):
    """A non-decreasing step function that turns a stated score into an observed rate."""

    knots: tuple[float, ...]
    """Stated scores, strictly increasing: the middle of each level."""
    values: tuple[float, ...]
    """Observed rate at each knot, non-decreasing; between two knots it is linear, outside it is the nearest."""

    def __call__(self, stated: float) -> float:
        """The observed rate that goes with a stated score."""
        at = bisect.bisect_right(self.knots, stated)
        if at == 0:
            return self.values[0]
        if at == len(self.knots):
            return self.values[-1]
        low, high = self.knots[at - 1], self.knots[at]
        share = (stated - low) / (high - low)
        return self.values[at - 1] + share * (self.values[at] - self.values[at - 1])


def isotonic(stated: Sequence[float], outcomes: Sequence[float], *, prior: float = 1.0) -> MonotoneMap:
    """The non-decreasing map closest to the outcomes, by pooling adjacent violators.

    `prior` pseudo-outcomes at the overall mean keep a small level away from 0 and 1.

    Source: Barlow et al. 1972; Zadrozny and Elkan 2002 (as calibration).
    """
    _need(stated, outcomes)
    mean = fmean(outcomes)
    alike: dict[float, list[float]] = {}
    for one, outcome in sorted(zip(stated, outcomes, strict=True)):
        alike.setdefault(one, []).append(outcome)
    levels: list[tuple[float, float, float]] = []  # sum of outcomes, sum of stated, count
    for one, found in alike.items():
        levels.append((sum(found), one * len(found), len(found)))
        while len(levels) > 1 and levels[-1][0] / levels[-1][2] <= levels[-2][0] / levels[-2][2]:
            top, below = levels.pop(), levels.pop()
            levels.append((below[0] + top[0], below[1] + top[1], below[2] + top[2]))
    knots: list[float] = []
    values: list[float] = []
    for hit, told, n in levels:
        value = max((hit + prior * mean) / (n + prior), values[-1] if values else 0.0)
        if not knots or told / n > knots[-1]:
            knots.append(told / n)
            values.append(min(1.0, value))
    return MonotoneMap(knots=tuple(knots), values=tuple(values))


def _need(stated: Sequence[float], outcomes: Sequence[float]) -> None:
    if not stated or len(stated) != len(outcomes):
        raise ValueError(f"{len(stated)} statements and {len(outcomes)} outcomes are no record")
