"""The alarm when a judge is no longer the one that was calibrated, whenever one looks."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.evidence.intervals import Interval, confidence_sequence
from atlas.schema import Noun

MIN_BASELINE = 20
"""Scores below which there is nothing to drift from."""


class Drift(Noun):
    """A judge's recent scores beside its earlier ones."""

    before: Interval
    """Mean score of the baseline."""
    since: Interval
    """Mean score after it."""
    alarm_after: int | None
    """Scores after the baseline at which the two had parted for sure; None while they have not."""


def drift_of(baseline: Sequence[float], recent: Sequence[float], *, alpha: float = 0.01) -> Drift | None:
    """Whether the mean score has moved; None while there is too little to say. Scores in [0, 1], in order of time.

    One may look after every score: a judge that does not drift is called drifting with probability alpha at most. Both
    means have confidence sequences, each at half of alpha, and the alarm is the first time at which they do not meet.
    """
    if len(baseline) < MIN_BASELINE or not recent:
        return None
    before = confidence_sequence(baseline, 1 - alpha / 2)[-1]
    since = confidence_sequence(recent, 1 - alpha / 2)
    parted = (at for at, one in enumerate(since, start=1) if one.low > before.high or one.high < before.low)
    return Drift(before=before, since=since[-1], alarm_after=next(parted, None))
