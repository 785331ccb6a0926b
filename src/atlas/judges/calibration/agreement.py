"""How often a judge says what gold says, beyond chance, and how well its scores come true."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.evidence.intervals import Interval, wilson
from atlas.evidence.reliability import Bin, MonotoneMap, auroc, calibration_error, isotonic, reliability
from atlas.schema import Noun, content_hash

_FOLDS = 5


class Agreement(Noun):
    """A judge's scores beside gold."""

    agreement: Interval
    """Share of cases in which score and gold lie on the same side of 0.5; a score of 0.5 agrees by half."""
    kappa: Interval
    """Cohen's kappa: 0 is chance, 1 perfect."""
    auroc: float | None
    """How well the scores rank; None where gold is all right or all wrong."""
    raw_error: float
    """Expected calibration error of the scores as they are stated."""
    mapped_error: float
    """The same after the monotone map, cross-fitted: each case is mapped by the others."""
    mapping: MonotoneMap
    """From a stated score to the observed rate, fitted on all cases."""
    bins: tuple[Bin, ...]
    """The reliability plot of the stated scores."""


def agreement_of(scores: Sequence[float], gold: Sequence[float], *, confidence: float = 0.95) -> Agreement:
    """Scores and gold in [0, 1], case by case.

    Raises:
        ValueError: there is no case, or the lengths differ.
    """
    told = [0.5 if score == 0.5 else float((score > 0.5) == (truth > 0.5)) for score, truth in _pairs(scores, gold)]
    sides = {truth > 0.5 for truth in gold}
    return Agreement(
        agreement=wilson(sum(told), len(told), confidence),
        kappa=cohen_kappa(scores, gold, confidence=confidence),
        auroc=auroc(scores, [float(truth > 0.5) for truth in gold]) if len(sides) == 2 else None,
        raw_error=calibration_error(scores, gold),
        mapped_error=calibration_error(_cross_mapped(scores, gold), gold),
        mapping=isotonic(scores, gold),
        bins=reliability(scores, gold),
    )


def cohen_kappa(scores: Sequence[float], gold: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Agreement beyond chance of two yes/no readings; undefined chance (both always the same) counts as 0.

    The interval is Wilson's for the agreement, carried over; chance is taken as known.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    pairs = [(score > 0.5, truth > 0.5) for score, truth in _pairs(scores, gold)]
    n = len(pairs)
    same = sum(one == other for one, other in pairs) / n
    yes, true = sum(one for one, _ in pairs) / n, sum(other for _, other in pairs) / n
    chance = yes * true + (1 - yes) * (1 - true)
    if chance >= 1:
        return Interval(mean=0.0, low=-1.0, high=1.0, n=n)
    ends = wilson(same * n, n, confidence)
    mean, low, high = ((one - chance) / (1 - chance) for one in (ends.mean, ends.low, ends.high))
    return Interval(mean=mean, low=max(-1.0, low), high=min(1.0, high), n=n)


def _cross_mapped(scores: Sequence[float], gold: Sequence[float]) -> list[float]:
    fold = [int(content_hash("fold", str(at))[:8], 16) % _FOLDS for at in range(len(scores))]
    mapped = list(scores)
    for one in range(_FOLDS):
        rest = [at for at in range(len(scores)) if fold[at] != one]
        if not rest:
            continue
        fitted = isotonic([scores[at] for at in rest], [gold[at] for at in rest])
        for at in range(len(scores)):
            if fold[at] == one:
                mapped[at] = fitted(scores[at])
    return mapped


def _pairs(scores: Sequence[float], gold: Sequence[float]) -> list[tuple[float, float]]:
    if not scores or len(scores) != len(gold):
        raise ValueError(f"{len(scores)} scores and {len(gold)} gold values are no record")
    return list(zip(scores, gold, strict=True))
