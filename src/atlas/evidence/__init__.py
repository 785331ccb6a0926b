"""Statistics that stay valid under peeking: pure functions on numbers, no I/O."""

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
    "Interval",
    "bootstrap_mean",
    "confidence_sequence",
    "mcnemar_exact",
    "paired_difference",
    "wilson",
    "wilson_lower",
]
