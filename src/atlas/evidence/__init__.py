"""Statistics that stay valid under peeking: pure functions on numbers, no I/O."""

from atlas.evidence.eprocess import SUCCESS, count, e_value, holdout, in_doubt, lift, observe, observe_pair
from atlas.evidence.guarantee import Gap, Guarantee, not_worse
from atlas.evidence.intervals import (
    Interval,
    bootstrap_mean,
    confidence_sequence,
    mcnemar_exact,
    paired_difference,
    rate_difference,
    wilson,
    wilson_lower,
)
from atlas.evidence.many import e_bh

__all__ = [
    "SUCCESS",
    "Gap",
    "Guarantee",
    "Interval",
    "bootstrap_mean",
    "confidence_sequence",
    "count",
    "e_bh",
    "e_value",
    "holdout",
    "in_doubt",
    "lift",
    "mcnemar_exact",
    "not_worse",
    "observe",
    "observe_pair",
    "paired_difference",
    "rate_difference",
    "wilson",
    "wilson_lower",
]
