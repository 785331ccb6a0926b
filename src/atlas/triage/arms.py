"""Which tasks are worth supervision: where it is expected to change the outcome, not where the student is weak."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from atlas.models.text import one_line
from atlas.schema import Noun
from atlas.schema.errors import ConfigError
from atlas.triage.foresight import Foresight
from atlas.triage.signals import Signals


class Tried(Noun):
    """One task and how it went alone, with supervision, or both."""

    task: str
    """Names the task; outcomes of one task are never parted between fitting and testing."""
    signals: Signals
    """What was known before the run, or after a look at the student's attempt."""
    alone: float | None = Field(default=None, ge=0, le=1)
    """How the student fared alone; None where nobody knows."""
    helped: float | None = Field(default=None, ge=0, le=1)
    """How it went with supervision, or with the stronger model; None where nobody knows."""


class Worth(Noun):
    """What supervision is worth on a task."""

    alone: float
    """Probability that the student succeeds alone."""
    helped: float
    """Probability of success with supervision."""

    @property
    def gain(self) -> float:
        """How much likelier success is with supervision; below 0 where it harms."""
        return self.helped - self.alone


class Arms(Noun):
    """Fitted estimates of both ways, and the gain from which supervision is taken."""

    alone: Foresight
    """The student alone."""
    helped: Foresight
    """With supervision."""
    least_gain: float
    """Supervision is taken where it is expected to gain more than this."""
    share: float
    """Cross-validated share of tasks that are supervised then."""

    def worth(self, signals: Signals) -> Worth:
        """Both probabilities for a task."""
        return Worth(alone=self.alone.chance(signals), helped=self.helped.chance(signals))


class Routes(Noun):
    """What was fitted for a router: before the run, and after a look at the student's answer."""

    before: Arms
    """From key, words and the task's past."""
    after: Arms | None = None
    """From key, words and a first look; None where looking foretells no more."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def load_routes(path: Path) -> Routes:
    """The routes that `save` wrote.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        return Routes.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigError(
            f"{path} holds no fitted routes: {one_line(error)}.", "Write it with: atlas route fit --output FILE"
        ) from error
