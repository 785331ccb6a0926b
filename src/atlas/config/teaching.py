"""Adaptive teaching: which lane a session takes, and how it is rewarded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from atlas.config.llm import Block, LLMConfig
from atlas.config.reference import ImportPath, ModulePath
from atlas.schema import Lane


class ThresholdsConfig(Block):
    """How sure one must be that the student succeeds alone, as probabilities, for a lane."""

    auto: float = Field(default=0.85, ge=0, le=1)
    """At least this sure: auto."""
    paired: float = Field(default=0.65, ge=0, le=1)
    """At least this: paired."""
    coach: float = Field(default=0.35, ge=0, le=1)
    """Below `paired` it is coach; below this even coach is doubtful, and taken all the same."""

    @model_validator(mode="after")
    def _descending(self) -> ThresholdsConfig:
        if not self.auto >= self.paired >= self.coach:
            raise ValueError("thresholds must not rise from auto over paired to coach")
        return self


class ProbeConfig(Block):
    """The model that is asked for a lane when history is not enough."""

    enabled: bool = True
    """Off: where history is not enough the fallback decides, without a model call."""
    llm: LLMConfig | None = None
    """Its model; None takes the teacher's."""
    thresholds: ThresholdsConfig = ThresholdsConfig()
    """How sure a lane has to be; history is measured against the same."""
    fallback_mode: Lane = "paired"
    """The lane when neither history nor probe can tell."""
    evidence_limit: int = Field(default=6, ge=0, le=1000)
    """Earlier sessions that the probe is shown."""
    timeout_seconds: float = Field(default=15.0, gt=0)
    """Seconds for its answer."""


class HistoryConfig(Block):
    """How earlier sessions of the same key speak for a lane."""

    limit: int = Field(default=50, ge=1, le=10_000)
    """Sessions that are read, newest first."""
    confidence: float = Field(default=0.8, gt=0, lt=1)
    """Level of the one-sided lower bound of the success rate."""
    min_sessions: int = Field(default=5, ge=1)
    """Known outcomes below which history says nothing."""
    audit_share: float = Field(default=0.05, ge=0, le=1)
    """Share of auto sessions that are played paired all the same, so that history stays true."""
    routes: str | None = None
    """File of `atlas route fit`, from the project's folder; for the keys it knows it speaks before plain history."""


class RewardConfig(Block):
    """Who rewards a session."""

    type: Literal["rim", "python"] = "rim"
    """rim: checks, then the judges of the block `rim`; python: a callable of the user's."""
    import_path: ModulePath | None = None
    """For python: `pkg.mod:attr`, or the module alone."""
    attribute: str | None = None
    """For python: the name in the module, where `import_path` does not name it."""
    focus_prompt: str | None = None
    """What the judges should weigh most, in one or two sentences."""

    @model_validator(mode="after")
    def _python_has_a_target(self) -> RewardConfig:
        if self.type == "python" and self.target is None:
            raise ValueError("a python reward needs import_path: pkg.mod:attr (or import_path and attribute)")
        return self

    @property
    def target(self) -> str | None:
        """`pkg.mod:attr` of a python reward."""
        if self.import_path is None:
            return None
        if self.attribute is not None:
            return f"{self.import_path}:{self.attribute}"
        return self.import_path if ":" in self.import_path else None


class AdaptiveTeachingConfig(Block):
    """How a session's lane is chosen."""

    enabled: bool = True
    """Off: every session takes `probe.fallback_mode`."""
    certify_first_run: bool = True
    """Whether the first session of a key is played paired."""
    mode_override: Lane | None = None
    """A lane for every session; `orchestration.forced_mode` wins over it."""
    triage_adapter: ImportPath | None = None
    """`pkg.mod:fn`, a callable that takes a Task and gives a Dossier; None takes the one that ships with Atlas."""
    default_tags: tuple[str, ...] = ()
    """Labels of every dossier."""
    history: HistoryConfig = HistoryConfig()
    """How earlier sessions are read."""
    probe: ProbeConfig = ProbeConfig()
    """The model that is asked when history is not enough."""
    reward: RewardConfig = RewardConfig()
    """Who rewards a session."""
