"""Statistics that stay valid under peeking: pure functions on numbers, no I/O."""

from atlas.evidence.eprocess import SUCCESS, e_value, observe
from atlas.evidence.intervals import (
    Interval,
    bootstrap_mean,
    confidence_sequence,
    mcnemar_exact,
    paired_difference,
    wilson,
    wilson_lower,
)

__all__ = [
    "SUCCESS",
    "Interval",
    "bootstrap_mean",
    "confidence_sequence",
    "e_value",
    "mcnemar_exact",
    "observe",
    "paired_difference",
    "wilson",
    "wilson_lower",
]
