"""An estimate of success: from the learning key, the task's words, its own past, and a look at the attempt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from atlas.schema import Noun
from atlas.triage.signals import Signals, look_features, text_features

Group = Literal["text", "past", "look"]
GROUPS: tuple[Group, ...] = ("text", "past", "look")
"""In this order the features stand."""


class Foresight(Noun):
    """A fitted estimate of one way of working: log-odds of success as a weighted sum of features."""

    keys: tuple[str, ...]
    """Learning keys that were seen; another one has only the shared intercept."""
    policies: tuple[str, ...]
    """Policies whose outcomes on the same task are read."""
    usual: tuple[float, ...]
    """Mean outcome of each of them: what an outcome is counted from."""
    groups: tuple[Group, ...]
    """Feature groups that are read."""
    weights: tuple[float, ...]
    """Log-odds for each feature."""
    outcomes: int
    """Recorded outcomes it was fitted on."""
    loss: float
    """Cross-validated logistic loss, in nats."""
    calibration_error: float
    """Cross-validated expected calibration error."""

    def chance(self, signals: Signals) -> float:
        """Probability of success in [0, 1]."""
        usual = dict(zip(self.policies, self.usual, strict=True))
        told = features(signals, self.keys, usual, self.groups)
        total = sum(weight * one for weight, one in zip(self.weights, told, strict=True))
        return 0.5 * (1 + math.tanh(0.5 * total))


def features(signals: Signals, keys: Sequence[str], usual: dict[str, float], groups: Sequence[Group]) -> list[float]:
    """The features of a task, in a fixed order: intercept, keys, then each group that is read."""
    mine = [float(signals.key == key) for key in keys]
    found = [1.0, *mine]
    if "text" in groups:
        found += text_features(signals.prompt)
    if "past" in groups:
        known = [signals.past[policy] - usual[policy] if policy in signals.past else 0.0 for policy in usual]
        heard = sum(policy in signals.past for policy in usual)
        mean = 4 * sum(known) / (heard + 1)
        found += [mean, *known, *(mean * one for one in mine)]
    if "look" in groups:
        look = look_features(signals.look)
        found += [*look, *(one * each for one in mine for each in look)]
    return found
