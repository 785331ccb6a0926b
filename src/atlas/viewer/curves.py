"""Learning curves: sessions in their order, cut into parts of equal size, each with its interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import NormalDist, fmean, variance
from uuid import UUID

from atlas.evidence import Interval, mcnemar_exact, wilson
from atlas.schema import Lane, Noun
from atlas.store.progress import Point, Shares, Tries

PARTS = 24
"""Parts of a curve at most."""
SMALLEST = 10
"""Sessions of one part at least."""
_Z = NormalDist().inv_cdf(0.975)


class Part(Noun):
    """Consecutive sessions of a key."""

    start: int
    """Number of its first session, 0 being the oldest shown."""
    at: datetime
    """When that one started (UTC)."""
    sessions: int
    """How many there are."""
    reward: Interval | None
    """Mean reward with its 95 % interval, as of a success rate: for graded rewards too wide. None without one."""
    tokens: Interval
    """Mean tokens of a session with its 95 % interval (normal approximation)."""
    cost_usd: float | None
    """Mean cost; None when no price is known."""
    lanes: dict[Lane, int]
    """Sessions of each lane."""
    tax: float | None
    """Tokens of the other roles for each token of the student; None where that is not known."""


class Saving(Noun):
    """Tokens of the later sessions of a key against its first ones."""

    baseline: Interval
    """Mean tokens of the first sessions."""
    since: Interval
    """Mean tokens of those after them, as far as they are shown."""
    saved: Interval
    """Mean tokens that a later session used less; `n` counts the later sessions."""


class NotWorse(Noun):
    """How often the end of a session was worse than the student's own first try, which an executed check had read."""

    rate: Interval
    """Share of sessions whose end was at least as good."""
    better: int
    """Sessions that ended better than the first try."""
    worse: int
    """Sessions that ended worse."""
    p_value: float
    """Exact McNemar test of these two counts."""


def parts(points: Sequence[Point], shares: Mapping[UUID, Shares]) -> tuple[Part, ...]:
    """The curve of a key."""
    size = max(SMALLEST, math.ceil(len(points) / PARTS))
    return tuple(_part(points[start : start + size], start, shares) for start in range(0, len(points), size))


def _part(points: Sequence[Point], start: int, shares: Mapping[UUID, Shares]) -> Part:
    rewards = [point.reward for point in points if point.reward is not None]
    costs = [point.cost_usd for point in points if point.cost_usd is not None]
    known = [shares[point.uid] for point in points if point.uid in shares]
    student = sum(share.student for share in known)
    return Part(
        start=start,
        at=points[0].at,
        sessions=len(points),
        reward=wilson(sum(rewards), len(rewards)) if rewards else None,
        tokens=mean([point.tokens for point in points]),
        cost_usd=fmean(costs) if costs else None,
        lanes=dict(Counter(point.lane for point in points)),
        tax=sum(share.others for share in known) / student if student else None,
    )


def mean(values: Sequence[float]) -> Interval:
    """A mean with its 95 % interval by the normal approximation; without width for a single value."""
    centre = fmean(values)
    half = _Z * math.sqrt(variance(values) / len(values)) if len(values) > 1 else 0.0
    return Interval(mean=centre, low=centre - half, high=centre + half, n=len(values))


def saving(first: Sequence[Point], points: Sequence[Point]) -> Saving | None:
    """What later sessions save against the first ones; None while there are too few of either."""
    began = {point.uid for point in first}
    before = [float(point.tokens) for point in first]
    after = [float(point.tokens) for point in points if point.uid not in began]
    if min(len(before), len(after)) < SMALLEST:
        return None
    baseline, since = mean(before), mean(after)
    half = math.hypot(baseline.high - baseline.mean, since.high - since.mean)
    gap = baseline.mean - since.mean
    return Saving(
        baseline=baseline, since=since, saved=Interval(mean=gap, low=gap - half, high=gap + half, n=len(after))
    )


def not_worse(tries: Mapping[UUID, Tries]) -> NotWorse | None:
    """The non-degradation of the loop over the student's first tries; None where no check has read one."""
    pairs = [(one.first, one.final) for one in tries.values() if one.first is not None]
    if not pairs:
        return None
    better = sum(final > first for first, final in pairs)
    worse = sum(final < first for first, final in pairs)
    rate = wilson(len(pairs) - worse, len(pairs))
    return NotWorse(rate=rate, better=better, worse=worse, p_value=mcnemar_exact(better, worse))
