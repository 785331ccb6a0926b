"""The lane that a key's own history speaks for."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.evidence.intervals import wilson_lower
from atlas.schema import Lane, Noun, Outcome, Route


class Thresholds(Noun):
    """How sure a lane has to be, as probabilities in [0, 1]."""

    auto: float = 0.85
    """At least this sure that the student succeeds alone: the auto lane."""
    paired: float = 0.65
    """At least this: the paired lane."""
    coach: float = 0.35
    """Below this even the coach lane is doubtful; it is taken all the same."""

    def lane(self, confidence: float) -> Lane:
        """The lane for a probability that the student succeeds alone."""
        if confidence >= self.auto:
            return "auto"
        return "paired" if confidence >= self.paired else "coach"


class HistoryRule(Noun):
    """How much history is enough, and how it is read."""

    min_sessions: int = 5
    """Known outcomes needed before history speaks."""
    confidence: float = 0.8
    """Level of the one-sided lower bound (Wilson) of the success rate."""


class Known(Noun):
    """What is known of a session's key before it is routed."""

    outcomes: tuple[Outcome, ...] = ()
    """How earlier sessions of the key ended, newest first."""
    arms: tuple[str, ...] = ()
    """What the student's memory does in this session: `Recalled.arms`."""


def route_by_history(known: Known, rule: HistoryRule, thresholds: Thresholds) -> Route | None:
    """The lane that past outcomes justify; None while there are too few.

    Only sessions of the key for which memory did the same as for this one (`arms`) speak: a task whose lesson is in
    the prompt is another task than one without. The auto lane needs the lower bound of their first-try success above
    its threshold. Between the two supervised lanes the observed success of each decides: coach is taken where paired
    is known to fall short.
    """
    alike = [outcome for outcome in known.outcomes if set(outcome.arms) == set(known.arms)]
    first_tries = [outcome.first_try for outcome in alike if outcome.first_try is not None]
    if len(first_tries) < rule.min_sessions:
        return None
    alone = sum(first_tries)
    bound = wilson_lower(alone, len(first_tries), rule.confidence)
    like = "with the same lessons " if known.arms else ""
    seen = f"{alone} of the last {len(first_tries)} sessions {like}needed no help, lower bound {bound:.2f}"
    if bound >= thresholds.auto:
        return Route(lane="auto", confidence=bound, source="history", reason=f"{seen} >= {thresholds.auto}")
    paired = _success(alike, "paired")
    if len(paired) >= rule.min_sessions and sum(paired) / len(paired) < thresholds.paired:
        share = sum(paired) / len(paired)
        reason = f"{seen}; the paired lane succeeded in {share:.2f} of {len(paired)} < {thresholds.paired}"
        return Route(lane="coach", confidence=bound, source="history", reason=reason)
    return Route(lane="paired", confidence=bound, source="history", reason=f"{seen} < {thresholds.auto}")


def _success(outcomes: Sequence[Outcome], lane: Lane) -> list[bool]:
    return [outcome.reward >= 0.5 for outcome in outcomes if outcome.lane == lane and outcome.reward is not None]
