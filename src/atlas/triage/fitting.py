"""From recorded outcomes to the two estimates: what both ways share, and how supervision differs.

Both are fitted at once. What makes a task hard makes it hard for both, so the weights they share are held loosely, and
their difference, which alone decides a route, tightly. Which groups of features are read is decided by cross-validated
loss; nothing is read that does not help there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from atlas.evidence.logistic import fit_logistic, log_loss, sigmoid
from atlas.evidence.reliability import calibration_error
from atlas.schema import content_hash
from atlas.schema.errors import ConfigError
from atlas.triage.arms import Arms, Routes, Tried
from atlas.triage.foresight import GROUPS, Foresight, Group, features
from atlas.triage.signals import Signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_OUTCOMES = 30
"""Outcomes of each way below which nothing is fitted."""
_FOLDS = 5
_PENALTY: dict[Group, tuple[float, ...]] = {"text": (4.0, 16.0, 64.0), "past": (1.0, 4.0), "look": (0.3, 2.0)}
_SHARED_PENALTY, _KEY_PENALTY = 0.05, 0.5
SIDES = (-1.0, 1.0)
"""Alone, and with supervision."""
_DIFFERENCE = 3.0
"""How many times stronger the difference between the two ways is held to 0; not for intercept and keys."""


def fit_arms(tried: Sequence[Tried], *, share: float | None = None, least_gain: float = 0.1) -> Arms:
    """Fit both estimates; with `share` the gain is chosen so that about this share of the tasks is supervised.

    Raises:
        ConfigError: too few outcomes of a way, or all outcomes the same.
    """
    table = _Table.of(tried)
    chosen = _chosen(table)
    told_NA, lines = table.tempered(chosen)
    shared, gap = _halves(table.fit(chosen, None))
    alone, helped = (
        Foresight(
            keys=table.keys,
            policies=tuple(table.usual),
            usual=tuple(table.usual.values()),
            groups=_in_order(chosen),
            weights=_on_line(shared + side * gap, lines[at]),
            outcomes=int(table.known_NA[:, at].sum()),
            loss=table.loss_of(told_NA, at),
            calibration_error=table.error_of(told_NA, at),
        )
        for at, side in enumerate(SIDES)
    )
    chances_NA = sigmoid(told_NA)
    gains = (chances_NA[:, 1] - chances_NA[:, 0]).tolist()
    if share is not None:
        ranked = sorted(gains, reverse=True)
        least_gain = ranked[min(int(share * len(ranked)), len(ranked) - 1)]
    return Arms(alone=alone, helped=helped, least_gain=least_gain, share=fmean(gain > least_gain for gain in gains))


def fit_routes(tried: Sequence[Tried], *, share: float | None = None, least_gain: float = 0.1) -> Routes:
    """The route before a run, and the second look after it where that foretells more.

    Raises:
        ConfigError: too few outcomes of a way, or all outcomes the same.
    """
    before = fit_arms([_without(one, look=None) for one in tried], share=share, least_gain=least_gain)
    looked = [_without(one, past={}) for one in tried if one.signals.look is not None]
    if len(looked) < len(tried):
        return Routes(before=before)
    after = fit_arms(looked, least_gain=before.least_gain)
    blind = fit_arms([_without(one, look=None) for one in looked], least_gain=before.least_gain)
    return Routes(before=before, after=after if after.alone.loss < blind.alone.loss else None)


def _without(one: Tried, **hidden: object) -> Tried:
    signals: Signals = one.signals.model_copy(update=hidden)
    return one.model_copy(update={"signals": signals})


def _chosen(table: _Table) -> dict[Group, float]:
    """Feature groups with their penalty, added while they surely lower the cross-validated loss."""
    chosen: dict[Group, float] = {}
    while True:
        open_groups: list[Group] = [group for group in GROUPS if group not in chosen and table.has(group)]
        tried = [_with(chosen, group, penalty) for group in open_groups for penalty in _PENALTY[group]]
        gains = [table.gain(chosen, one) for one in tried]
        if not gains or max(gains) <= 0:
            return chosen
        chosen = tried[gains.index(max(gains))]


def _with(chosen: dict[Group, float], group: Group, penalty: float) -> dict[Group, float]:
    more = dict(chosen)
    more[group] = penalty
    return more


def _in_order(chosen: dict[Group, float]) -> tuple[Group, ...]:
    return tuple(group for group in GROUPS if group in chosen)


@dataclass
class _Table:
    """Recorded outcomes as arrays. N tasks, A ways (alone, helped), F features."""

    tried: Sequence[Tried]
    keys: tuple[str, ...]
    usual: dict[str, float]
    success_NA: NDArray[np.float64]
    known_NA: NDArray[np.bool_]
    fold_N: NDArray[np.int64]
    columns: dict[tuple[Group, ...], NDArray[np.float64]] = field(
        default_factory=dict["tuple[Group, ...]", "NDArray[np.float64]"]
    )

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> _Table:
        import numpy as np

        success = np.array([[np.nan if one is None else one for one in (row.alone, row.helped)] for row in tried])
        success = success.reshape(len(tried), len(SIDES))
        known = ~np.isnan(success)
        for at, way in enumerate(("alone", "with supervision")):
            heard = int(known[:, at].sum())
            if heard < MIN_OUTCOMES:
                raise ConfigError(
                    f"{heard} known outcomes {way} are too few.",
                    f"Give at least {MIN_OUTCOMES}; sessions of the paired lane show both ways.",
                )
        if len(set(success[known].tolist())) < 2:
            raise ConfigError("All outcomes are the same.", "There is nothing to learn from them yet.")
        past: dict[str, list[float]] = {}
        for one in tried:
            for policy, outcome in one.signals.past.items():
                past.setdefault(policy, []).append(outcome)
        return cls(
            tried,
            keys=tuple(sorted({one.signals.key for one in tried})),
            usual={policy: fmean(outcomes) for policy, outcomes in sorted(past.items())},
            success_NA=np.nan_to_num(success),
            known_NA=known,
            fold_N=np.array([int(content_hash("fold", one.task)[:8], 16) % _FOLDS for one in tried]),
        )

    def has(self, group: Group) -> bool:
        """Whether any task has something of this group."""
        if group == "text":
            return any(one.signals.prompt for one in self.tried)
        return bool(self.usual) if group == "past" else any(one.signals.look for one in self.tried)

    def design(self, chosen: dict[Group, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features (N, F), and the penalty of each; shared by both ways."""
        import numpy as np

        base = self._columns(())
        parts = [base]
        penalty = [np.array([_SHARED_PENALTY, *[_KEY_PENALTY] * len(self.keys)], dtype=float)]
        for group in _in_order(chosen):
            own = self._columns((group,))[:, base.shape[1] :]
            parts.append(own)
            penalty.append(np.ones(own.shape[1]) * chosen[group])
        return np.hstack(parts), np.concatenate(penalty)

    def _columns(self, groups: tuple[Group, ...]) -> NDArray[np.float64]:
        import numpy as np

        if groups not in self.columns:
            rows = [features(one.signals, self.keys, self.usual, groups) for one in self.tried]
            self.columns[groups] = np.array(rows)
        return self.columns[groups]

    def fit(self, chosen: dict[Group, float], rows_N: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Weights (2F) from these tasks: what is shared, then half the difference."""
        import numpy as np

        design, penalty = self.design(chosen)
        tight = penalty * np.where(np.arange(len(penalty)) <= len(self.keys), 1.0, _DIFFERENCE)
        stacked: list[NDArray[np.float64]] = []
        targets: list[NDArray[np.float64]] = []
        for at, side in enumerate(SIDES):
            mine = self.known_NA[:, at] if rows_N is None else self.known_NA[:, at] & rows_N
            stacked.append(np.hstack([design[mine], side * design[mine]]))
            targets.append(self.success_NA[mine, at])
        return fit_logistic(np.vstack(stacked), np.concatenate(targets), np.concatenate([penalty, tight]))

    def held_out(self, chosen: dict[Group, float]) -> NDArray[np.float64]:
        """Log-odds (N, A) of each task from weights that were fitted without its fold."""
        import numpy as np

        design, _ = self.design(chosen)
        told = np.zeros_like(self.success_NA)
        for fold in range(_FOLDS):
            out = self.fold_N == fold
            if not out.any() or out.all():
                continue
            shared, gap = _halves(self.fit(chosen, ~out))
            for at, side in enumerate(SIDES):
                told[out, at] = design[out] @ (shared + side * gap)
        return told

    def tempered(self, chosen: dict[Group, float]) -> tuple[NDArray[np.float64], list[tuple[float, float]]]:
        """Held-out log-odds (N, A) after the line, one for each way, that makes them come true.

        Source: Platt 1999, Probabilistic outputs for support vector machines, on held-out scores.
        """
        import numpy as np

        told = self.held_out(chosen)
        lines: list[tuple[float, float]] = []
        for at in range(len(SIDES)):
            mine = self.known_NA[:, at]
            design = np.column_stack([np.ones(mine.sum()), told[mine, at]])
            shift, slope = map(float, fit_logistic(design, self.success_NA[mine, at], [0.01, 0.01]))
            if slope <= 0:  # what is told foretells nothing: the mean is all there is
                shift, slope = float(fit_logistic(design[:, :1], self.success_NA[mine, at], [0.01])[0]), 0.0
            lines.append((shift, slope))
            told[:, at] = lines[-1][0] + lines[-1][1] * told[:, at]
        return told, lines

    def gain(self, before: dict[Group, float], after: dict[Group, float]) -> float:
        """How much the cross-validated loss falls, less one standard error of that, in nats."""
        import numpy as np

        falls = self._losses(before) - self._losses(after)
        return float(falls.mean() - falls.std() / np.sqrt(len(falls)))

    def _losses(self, chosen: dict[Group, float]) -> NDArray[np.float64]:
        """Loss of every known outcome of both ways."""
        import numpy as np

        told, mine = self.held_out(chosen)[self.known_NA], self.success_NA[self.known_NA]
        return np.logaddexp(0, told) - mine * told

    def loss_of(self, told_NA: NDArray[np.float64], at: int) -> float:
        """Loss of one way, where its outcome is known."""
        mine = self.known_NA[:, at]
        return log_loss(told_NA[mine, at], self.success_NA[mine, at])

    def error_of(self, told_NA: NDArray[np.float64], at: int) -> float:
        """Calibration error of one way, where its outcome is known."""
        mine = self.known_NA[:, at]
        return calibration_error(sigmoid(told_NA[mine, at]).tolist(), self.success_NA[mine, at].tolist())


def _on_line(weights: NDArray[np.float64], line: tuple[float, float]) -> tuple[float, ...]:
    """Weights whose log-odds are shift + slope times the old ones; the first one is the intercept."""
    shift, slope = line
    scaled = [float(one) * slope for one in weights]
    return (scaled[0] + shift, *scaled[1:])


def _halves(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = len(weights) // 2
    return weights[:width], weights[width:]
