"""Everything gold says about one judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atlas.evidence.intervals import Interval
from atlas.judges.calibration.agreement import Agreement, agreement_of
from atlas.judges.calibration.bias import length_bias, position_bias, self_preference
from atlas.judges.weighing import GoldCase
from atlas.schema import Noun


class JudgeReport(Noun):
    """One judge against gold."""

    judge: str
    """Its name."""
    n: int
    """Cases it scored."""
    missing: int
    """Cases it gave no score for."""
    agreement: Agreement
    """Agreement, kappa, calibration."""
    position: Interval | None
    """Position bias; None where no pair was shown in both orders."""
    length: Interval | None
    """Length bias; None where lengths are unknown or all the same."""
    own: Interval | None
    """Self-preference; None where nobody knows who wrote the answers, or only one kind did."""


def report_of(judge: str, cases: Sequence[GoldCase]) -> JudgeReport | None:
    """The report of a judge; None where it scored nothing."""
    scored = [case for case in cases if judge in case.scores]
    if not scored:
        return None
    scores, gold = [case.scores[judge] for case in scored], [case.gold for case in scored]
    both = [case for case in scored if judge in case.swapped]
    measured = [case for case in scored if case.length is not None]
    signed = [case for case in scored if case.author is not None]

    def told(some: Sequence[GoldCase]) -> tuple[list[float], list[float]]:
        return [case.scores[judge] for case in some], [case.gold for case in some]

    return JudgeReport(
        judge=judge,
        n=len(scored),
        missing=len(cases) - len(scored),
        agreement=agreement_of(scores, gold),
        position=_or_none(
            lambda: position_bias([case.scores[judge] for case in both], [case.swapped[judge] for case in both])
        ),
        length=_or_none(lambda: length_bias(*told(measured), [float(case.length or 0) for case in measured])),
        own=_or_none(lambda: self_preference(*told(signed), [(case.author or "") in judge for case in signed])),
    )


def _or_none(measure: Callable[[], Interval]) -> Interval | None:
    """A bias that these cases cannot show is unknown, not 0."""
    try:
        return measure()
    except ValueError:
        return None
