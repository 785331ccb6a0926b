"""From gold to weights: which judges to ask, in which order, how much each counts, and when to stop.

Judges are added greedily by cross-validated loss until another one no longer helps. A learning key's deviations are
held small by a stronger penalty, so that a key with little gold keeps to what holds for all. Everything is chosen on
the cases that are given and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import Field

from atlas.evidence.logistic import fit_logistic, log_loss, sigmoid
from atlas.evidence.reliability import calibration_error
from atlas.judges.weighing import FitRecord, GoldCase, PanelWeights, Stage
from atlas.schema import Noun, content_hash
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_CASES = 20
"""Gold cases below which nothing is fitted."""
_PENALTY = 2.0
_FOLDS = 5


class FitRules(Noun):
    """Bounds of a fit."""

    max_judges: int = Field(default=6, ge=1)
    """Judges on the panel at most."""
    first: int = Field(default=2, ge=1)
    """Judges that are asked at once."""
    escalation: float = Field(default=0.25, ge=0, le=1)
    """Share of cases, at most, for which more than the first judges are asked."""
    signed: bool = True
    """Whether a judge that is wrong more often than right may count against what it says."""
    key_penalty: float = Field(default=3.0, gt=0)
    """How many times stronger a key's deviation is held to 0 than a weight."""


def fit_panel(cases: Sequence[GoldCase], rules: FitRules | None = None) -> PanelWeights:
    """The panel that foretells gold best for its cost. Where all cases share one key, no deviations are fitted.

    Raises:
        ConfigError: fewer than `MIN_CASES` cases, no judge that scored half of them, or gold that never varies.
    """
    rules = rules or FitRules()
    table = _Table.of(cases, rules)
    fitted = _fitted(table, rules)
    alone, right = _best_alone(table)
    return fitted if fitted.record.accuracy >= right else _alone(table, alone)


def _fitted(table: _Table, rules: FitRules) -> PanelWeights:
    order = _ordered(table, rules)
    stages = [_stage(table, order[:k], table.fit(order[:k])) for k in range(1, len(order) + 1)]
    held_out = [table.held_out(order[:k]) for k in range(1, len(order) + 1)]
    first = min(rules.first, len(order))
    clear = _clear(held_out[first - 1], rules.escalation)
    return PanelWeights(
        judges=tuple(table.judges[at] for at in order),
        usual=tuple(float(table.usual_J[at]) for at in order),
        stages=tuple(stages),
        first=first,
        clear=clear,
        record=_record(held_out, table.gold_N, first, clear),
    )


def _best_alone(table: _Table) -> tuple[int, float]:
    """The judge whose plain word is right most often, and how often; a score in the middle is half right."""
    import numpy as np

    plain_NJ = table.scores_NJ / 2 + table.usual_J - 0.5
    agree_NJ = np.where(np.abs(plain_NJ) < 1e-9, 0.5, (plain_NJ > 0) == (table.gold_N > 0.5)[:, None])
    share_J = agree_NJ.mean(axis=0)
    at = int(np.argmax(share_J))
    return at, float(share_J[at])


def _alone(table: _Table, at: int) -> PanelWeights:
    """One judge taken at its word, with the strength of that word fitted: its middle stays the middle."""
    import numpy as np

    plain_N = 2 * (table.scores_NJ[:, at] / 2 + table.usual_J[at] - 0.5)
    design = plain_N[:, None]
    weight = max(1e-6, float(fit_logistic(design, table.gold_N, np.array([_PENALTY]))[0]))
    stage = Stage(intercept=weight * 2 * (float(table.usual_J[at]) - 0.5), weights=(weight,))
    told = weight * plain_N
    return PanelWeights(
        judges=(table.judges[at],),
        usual=(float(table.usual_J[at]),),
        stages=(stage,),
        first=1,
        clear=0.0,
        record=_record([told], table.gold_N, 1, 0.0),
    )


@dataclass(frozen=True)
class _Table:
    """Gold cases as arrays. N cases, J judges, K keys."""

    judges: tuple[str, ...]
    usual_J: NDArray[np.float64]
    scores_NJ: NDArray[np.float64]
    gold_N: NDArray[np.float64]
    keys: tuple[str, ...]
    member_NK: NDArray[np.float64]
    fold_N: NDArray[np.int64]
    key_penalty: float

    @classmethod
    def of(cls, cases: Sequence[GoldCase], rules: FitRules) -> _Table:
        import numpy as np

        if len(cases) < MIN_CASES:
            raise ConfigError(f"{len(cases)} gold cases are too few.", f"Give at least {MIN_CASES}.")
        gold = np.array([case.gold for case in cases])
        if gold.min() == gold.max():
            raise ConfigError("All gold is the same.", "Give cases that are right and cases that are wrong.")
        counts: dict[str, int] = {}
        for case in cases:
            for judge in case.scores:
                counts[judge] = counts.get(judge, 0) + 1
        judges = tuple(sorted(judge for judge, n in counts.items() if n >= len(cases) / 2))
        if not judges:
            raise ConfigError("No judge scored half of the gold cases.", "Let the same judges score all of them.")
        usual = np.array([fmean(c.scores[judge] for c in cases if judge in c.scores) for judge in judges])
        scores = np.array([[case.scores.get(judge, usual[at]) for at, judge in enumerate(judges)] for case in cases])
        keys = tuple(sorted({case.key for case in cases}))
        keys = keys if len(keys) > 1 else ()
        member = np.array([[float(case.key == key) for key in keys] for case in cases]).reshape(len(cases), len(keys))
        folds = np.array([int(content_hash(case.id)[:8], 16) % _FOLDS for case in cases])
        return cls(judges, usual, 2 * (scores - usual), gold, keys, member, folds, rules.key_penalty)

    def design(self, chosen: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Columns: intercept and scores (1 + k), then the same for each key; with the penalty of each column."""
        import numpy as np

        shared = np.column_stack([np.ones(len(self.gold_N)), self.scores_NJ[:, list(chosen)]])
        parts = [shared, *(shared * self.member_NK[:, [at]] for at in range(len(self.keys)))]
        own = np.full(shared.shape[1], _PENALTY)
        own[0] = _PENALTY / 4  # how often answers are right is known from every case
        return np.hstack(parts), np.concatenate([own, *[own * self.key_penalty] * len(self.keys)])

    def fit(self, chosen: Sequence[int]) -> NDArray[np.float64]:
        """Weights from all cases."""
        design, penalty = self.design(chosen)
        return fit_logistic(design, self.gold_N, penalty)

    def held_out(self, chosen: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds of each case from weights that were fitted without its fold."""
        import numpy as np

        design, penalty = self.design(chosen)
        told = np.zeros(len(self.gold_N))
        for fold in range(_FOLDS):
            out = self.fold_N == fold
            if out.any() and not out.all():
                told[out] = design[out] @ fit_logistic(design[~out], self.gold_N[~out], penalty)
        return told


def _ordered(table: _Table, rules: FitRules) -> list[int]:
    """Judges in the order of what each adds to those before it."""
    chosen: list[int] = []
    best = float("inf")
    while len(chosen) < min(rules.max_judges, len(table.judges)):
        rest = [at for at in range(len(table.judges)) if at not in chosen]
        if not rules.signed:
            rest = [at for at in rest if table.fit([*chosen, at])[1 : len(chosen) + 2].min() >= 0]
        tried = [(log_loss(table.held_out([*chosen, at]), table.gold_N), at) for at in rest]
        loss, at = min(tried, default=(best, -1))
        if loss >= best:
            break
        chosen.append(at)
        best = loss
    if not chosen:
        raise ConfigError("No judge is right more often than chance.", "Allow signed weights, or ask other judges.")
    return chosen


def _stage(table: _Table, chosen: Sequence[int], weights: NDArray[np.float64]) -> Stage:
    width = len(chosen) + 1
    shared, rest = weights[:width], weights[width:]
    own = {key: tuple(map(float, rest[at * width : (at + 1) * width])) for at, key in enumerate(table.keys)}
    return Stage(intercept=float(shared[0]), weights=tuple(map(float, shared[1:])), by_key=own)


def _clear(told_N: NDArray[np.float64], escalation: float) -> float:
    """The largest distance at which no more than the allowed share lies nearer to 0."""
    distances = sorted(map(abs, map(float, told_N)))
    allowed = int(escalation * len(distances))
    cut = distances[min(allowed, len(distances) - 1)]
    return max(0.0, cut - 1e-9)


def _record(
    held_out: Sequence[NDArray[np.float64]], gold_N: NDArray[np.float64], first: int, clear: float
) -> FitRecord:
    import numpy as np

    told, asked = held_out[first - 1].copy(), np.full(len(gold_N), float(first))
    for k in range(first + 1, len(held_out) + 1):
        open_N = (asked == k - 1) & (np.abs(told) < clear)
        told[open_N], asked[open_N] = held_out[k - 1][open_N], k
    return FitRecord(
        cases=len(gold_N),
        loss=log_loss(held_out[-1], gold_N),
        accuracy=fmean(one == other for one, other in zip((told > 0).tolist(), (gold_N > 0.5).tolist(), strict=True)),
        calibration_error=calibration_error(sigmoid(told).tolist(), gold_N.tolist()),
        escalation=float(np.mean(asked > first)),
        judges_asked=float(asked.mean()),
    )
