"""Many hypotheses at once: which of them are found, so that few of the findings are false."""

from __future__ import annotations

import math
from collections.abc import Sequence


def e_bh(log_e_values: Sequence[float], alpha: float = 0.05) -> tuple[int, ...]:
    """Positions whose null is rejected, at a false discovery rate of at most `alpha`, whatever their dependence.

    The k largest e-values are taken where k is the largest number for which the k-th is at least K / (alpha * k).

    Source: Wang and Ramdas, False discovery rate control with e-values, arXiv 2009.02824, section 4.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} must lie in (0, 1)")
    total = len(log_e_values)
    order = sorted(range(total), key=lambda at: -log_e_values[at])
    found = 0
    for rank, at in enumerate(order, start=1):
        if log_e_values[at] >= math.log(total / (alpha * rank)):
            found = rank
    return tuple(sorted(order[:found]))
