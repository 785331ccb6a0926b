"""What a teacher's word is worth: how much better the frozen student does with it, measured by the verifier.

Source: ATLAS, arXiv 2511.01093; teachers rewarded by what their student can do, Cetin et al., arXiv 2506.08388.
"""

from __future__ import annotations

from atlas.schema import Noun
from atlas.train.config import TeachingConfig


class Outcome(Noun):
    """What one word of the teacher led to."""

    p_base: float
    """Mean value in [0, 1] of the frozen student's own drafts."""
    p_taught: float
    """Mean value in [0, 1] of its answers under the word; of the draft itself where that was accepted."""
    tokens: int
    """Tokens the teacher wrote."""
    leaked: bool = False
    """Whether the guidance holds the expected answer."""
    malformed: bool = False
    """Whether no review could be read from it; the draft then stands."""


def teaching_reward(outcome: Outcome, rules: TeachingConfig) -> float:
    """r = (p_taught - p_base) - lambda max(0, p_base - p_taught) - cost tokens - leak - malformed.

    It has no upper or lower bound of its own. A word whose outcome is unknown, as in an outage, has no reward at all:
    it never comes here.
    """
    gain = outcome.p_taught - outcome.p_base
    value = gain - rules.harm * max(0.0, -gain) - rules.token_cost * outcome.tokens
    return value - rules.leak * outcome.leaked - rules.malformed * outcome.malformed
