"""What samples say together, and whether more of them are needed: their mean, or weights that were fitted on gold."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Protocol

from pydantic import Field

from atlas.judges.weighing import PanelWeights, probability, scores_of
from atlas.schema import Noun, Session, Verdict

_DECIDED = 0.5
_MARGIN = 0.1
"""How far from the middle every score must lie for a decision to be clear."""


class Read(Noun):
    """What the samples said so far."""

    value: float = Field(ge=0, le=1)
    """Their word in [0, 1]."""
    uncertainty: float = Field(ge=0, le=1)
    """How little it can be relied on."""
    clear: bool
    """Whether another sample would hardly change the decision."""
    doubted: bool
    """Whether a judge doubts itself: then an arbiter helps, and another sample does not."""
    doubt: str | None
    """Why an arbiter should be asked; None where there is no need."""


class Reading(Protocol):
    """Turns samples into one word."""

    @property
    def first(self) -> int:
        """Samples that are asked at once."""
        ...

    @property
    def fitted(self) -> bool:
        """Whether the samples are a fitted panel, whose later judges are its escalation."""
        ...

    @property
    def thresholds(self) -> dict[str, float]:
        """What it goes by, for the record."""
        ...

    def read(self, given: Sequence[Verdict], session: Session) -> Read:
        """The word of at least one verdict."""
        ...


class MeanReading:
    """The mean of the scores; clear when all lie on one side, near each other, and nobody doubts."""

    first = 2
    fitted = False

    def __init__(self, *, spread: float, uncertainty: float) -> None:
        """`spread` (population standard deviation) and `uncertainty` are the largest that are still clear."""
        self._spread = spread
        self._uncertainty = uncertainty
        self.thresholds = {"spread": spread, "uncertainty": uncertainty, "margin": _MARGIN}

    def read(self, given: Sequence[Verdict], session: Session) -> Read:
        """See `Reading.read`."""
        scores = [one.score for one in given]
        spread, worst = pstdev(scores), max(one.uncertainty for one in given)
        doubt = f"a judge doubts ({worst:.2f})" if worst > self._uncertainty else None
        doubt = f"the scores spread by {spread:.2f}" if spread > self._spread else doubt
        decided = min(scores) >= _DECIDED + _MARGIN or max(scores) <= _DECIDED - _MARGIN
        return Read(
            value=fmean(scores),
            uncertainty=max(spread, fmean(one.uncertainty for one in given)),
            clear=decided and doubt is None,
            doubted=worst > self._uncertainty,
            doubt=doubt,
        )


class WeightedReading:
    """The probability that the answer is right, by weights fitted on gold.

    A judge's own doubt is not read: what judges say of themselves is not what comes true. In doubt the panel's later
    judges are asked, who were weighed as well; an arbiter who was not would overrule them.
    """

    fitted = True

    def __init__(self, weights: PanelWeights) -> None:
        """`weights` were fitted on the judges that are asked."""
        self._weights = weights
        self.first = min(weights.first, len(weights.judges))
        self.thresholds = {"clear": weights.clear, "expected_escalation": weights.record.escalation}

    def read(self, given: Sequence[Verdict], session: Session) -> Read:
        """See `Reading.read`. Judges that were asked and gave nothing count as having said what they usually say."""
        scores = scores_of(given)
        names = self._weights.judges
        asked = max((at + 1 for at, name in enumerate(names) if name in scores), default=1)
        told = self._weights.log_odds(scores, session.task.learning_key, asked)
        value = probability(told)
        return Read(
            value=value,
            uncertainty=2 * min(value, 1 - value),
            clear=self._weights.is_clear(told),
            doubted=False,
            doubt=None,
        )
