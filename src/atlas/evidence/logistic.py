"""Ridge logistic regression: log-odds of an outcome as a weighted sum, for the few features a room can name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEPS = 50
_ENOUGH = 1e-8
_LARGEST_STEP = 5.0


def fit_logistic(
    design_NF: NDArray[np.float64], targets_N: NDArray[np.float64], penalties_F: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weights (F) that minimise logistic loss plus half of `penalties` times the squared weights.

    Targets lie in [0, 1]; a fraction counts as so much success. Every penalty is above 0, so the optimum is unique.

    Source: Hastie et al. 2009, eq. 4.26 (Newton's method).

    Raises:
        ValueError: the shapes do not fit, there is no row, or a penalty is not above 0.
    """
    import numpy as np

    penalty = np.asarray(penalties_F, dtype=float)
    if design_NF.ndim != 2 or design_NF.shape != (len(targets_N), len(penalty)) or not len(targets_N):
        raise ValueError(f"design {design_NF.shape}, {len(targets_N)} targets and {len(penalty)} penalties do not fit")
    if (penalty <= 0).any():
        raise ValueError("every penalty must be above 0")
    weights = np.zeros(len(penalty))
    for _ in range(_STEPS):
        chance = sigmoid(design_NF @ weights)
        slope = design_NF.T @ (chance - targets_N) + penalty * weights
        curve = (design_NF * (chance * (1 - chance))[:, None]).T @ design_NF + np.diag(penalty)
        step = np.clip(np.linalg.solve(curve, slope), -_LARGEST_STEP, _LARGEST_STEP)
        weights -= step
        if np.abs(step).max() < _ENOUGH:
            break
    return weights


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds as probabilities, without overflow."""
    import numpy as np

    return 0.5 * (1 + np.tanh(0.5 * log_odds))


def log_loss(log_odds_N: NDArray[np.float64], targets_N: NDArray[np.float64]) -> float:
    """Mean logistic loss in nats, at least 0; targets in [0, 1]."""
    import numpy as np

    return float(np.mean(np.logaddexp(0, log_odds_N) - targets_N * log_odds_N))
