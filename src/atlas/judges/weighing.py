"""What several judges' scores say together: weights fitted on gold, and when enough has been heard.

Judges are asked in a fixed order. After the k-th one, stage k turns the scores heard so far into the probability that
the answer is right: a weighted sum in log-odds, with a deviation for each learning key that had gold. Where that
probability is clear, nobody else is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from atlas.models.text import one_line
from atlas.schema import Noun, Score, Verdict
from atlas.schema.errors import ConfigError


class GoldCase(Noun):
    """One task whose truth is known, with what judges said of it."""

    id: str
    """Names the task; cases of one task are never parted between fitting and testing."""
    key: str = "default"
    """Learning key."""
    gold: Score
    """1 right, 0 wrong; a graded truth lies between."""
    scores: dict[str, Score]
    """Score by judge (a payload); a judge that gave none is absent."""
    swapped: dict[str, Score] = Field(default_factory=dict)
    """For a pair shown in both orders: score by judge of the same output when it was shown second (a payload)."""
    length: int | None = Field(default=None, ge=0)
    """Characters of the answer; None where unknown."""
    author: str | None = None
    """Model that wrote the answer; None where unknown."""


class Stage(Noun):
    """How the scores of the first judges are read."""

    intercept: float
    """Log-odds that the answer is right before anybody is heard."""
    weights: tuple[float, ...]
    """Log-odds for each judge's score, counted from its usual score; below 0 for a judge that errs systematically."""
    by_key: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Deviations (intercept, then weights) of a learning key."""


class FitRecord(Noun):
    """What a fit was made of, and what it is expected to do and to cost."""

    cases: int
    """Gold cases."""
    loss: float
    """Cross-validated logistic loss with all judges, in nats."""
    accuracy: float
    """Cross-validated share of right decisions, stopping early."""
    calibration_error: float
    """Cross-validated expected calibration error, stopping early."""
    escalation: float
    """Cross-validated share of cases in which more than the first judges were asked."""
    judges_asked: float
    """Cross-validated mean number of judges asked."""


class PanelWeights(Noun):
    """A panel of judges that was weighed against gold."""

    judges: tuple[str, ...]
    """Names, in the order in which they are asked."""
    usual: tuple[float, ...]
    """Each judge's mean score on gold: what a missing score is read as."""
    stages: tuple[Stage, ...]
    """Stage k reads the first k judges."""
    first: int = 2
    """Judges that are asked at once."""
    clear: float
    """Distance of the log-odds from 0 from which nobody else is asked."""
    record: FitRecord
    """Thresholds are never without what they cost."""

    def log_odds(self, scores: Mapping[str, float], key: str, asked: int) -> float:
        """Log-odds that the answer is right, from the first `asked` judges; one that gave no score is read as usual."""
        stage = self.stages[asked - 1]
        own = stage.by_key.get(key, (0.0,) * (asked + 1))
        total = stage.intercept + own[0]
        for at in range(asked):
            deviation = scores.get(self.judges[at], self.usual[at]) - self.usual[at]
            total += (stage.weights[at] + own[at + 1]) * 2 * deviation
        return total

    def is_clear(self, log_odds: float) -> bool:
        """Whether nobody else needs to be asked."""
        return abs(log_odds) >= self.clear

    def decide(self, scores: Mapping[str, float], key: str) -> tuple[float, int]:
        """Probability that the answer is right, and how many judges had to be asked, where all scores are recorded."""
        for asked in range(min(self.first, len(self.judges)), len(self.judges) + 1):
            told = self.log_odds(scores, key, asked)
            if self.is_clear(told) or asked == len(self.judges):
                return probability(told), asked
        raise ValueError("a panel has at least one judge")

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def load_weights(path: Path) -> PanelWeights:
    """The weights that `save` wrote.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        return PanelWeights.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigError(
            f"{path} holds no judge weights: {one_line(error)}.", "Write it with: atlas judge calibrate --output FILE"
        ) from error


def probability(log_odds: float) -> float:
    """Log-odds as a probability."""
    return 0.5 * (1 + math.tanh(0.5 * log_odds))


def scores_of(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Score by judge; of a judge that was asked several times, the mean."""
    heard: dict[str, list[float]] = {}
    for verdict in verdicts:
        heard.setdefault(verdict.judge, []).append(verdict.score)
    return {judge: sum(scores) / len(scores) for judge, scores in heard.items()}
