"""What is learnt from sessions, and when it may act."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.config.llm import Block, LLMConfig


class LearningPrompts(Block):
    """Static texts of the curator; None takes the one that ships with Atlas."""

    synthesizer: str | None = None
    """In front of the curator's conversation."""


class PruningConfig(Block):
    """When an entry is retired because it does nothing."""

    min_sessions: int = Field(default=10, ge=1)
    """Sessions of the key before an entry can be retired."""
    min_cue_hit_rate: float = Field(default=0.05, ge=0, le=1)
    """Share of sessions in which its cue must occur."""
    min_reward_delta: float = Field(default=0.01, ge=-1, le=1)
    """Gain in reward that it must show."""
    min_transfer_sessions: int = Field(default=20, ge=1)
    """Sessions before its use on other tasks of the key is weighed."""


class CompareConfig(Block):
    """Doing a task once more, after the answer, to measure a lesson that is in doubt."""

    enabled: bool = True
    """Off: lessons are measured by withholding them from some sessions only."""
    tools: Literal["none", "idempotent", "external"] = "none"
    """Which tools the second try may call. none: the agent is compared only if no tool of it has an effect in the
    world; idempotent: also tools that may be called twice; external: any, as for an agent in a sandbox. An agent of
    any other type, or with tool servers, is compared with `external` only: nobody sees what its tools do."""


class RentConfig(Block):
    """What a lesson must be worth to stay."""

    period: int = Field(default=200, ge=10)
    """Matching sessions after which, again and again, its estimated lift is held against its tokens."""
    success_worth_tokens: int = Field(default=2000, ge=1)
    """Tokens that one more success is worth."""


class FlipGateConfig(Block):
    """What a lesson or a version must show on stored tasks."""

    tasks: int = Field(default=50, ge=1, le=10_000)
    """Stored tasks at most, the newest ones that the lesson matches."""
    min_tasks: int = Field(default=5, ge=1)
    """Tasks below which nothing passes."""
    max_worse: int = Field(default=0, ge=0)
    """Tasks that may fail with it although they succeed without it."""


class LearningConfig(Block):
    """The playbooks."""

    enabled: bool = True
    """Off: nothing is recalled and nothing is learnt."""
    update_enabled: bool = True
    """Off: playbooks are read and never changed."""
    llm: LLMConfig | None = None
    """The curator's model; None takes the teacher's."""
    prompts: LearningPrompts = LearningPrompts()
    """Static texts."""
    history_limit: int = Field(default=10, ge=0, le=1000)
    """Entries of the playbook that the curator is shown, so that it adds none twice."""
    session_note_enabled: bool = True
    """Whether judges write a note for the curator."""
    apply_to_prompts: bool = True
    """Off: playbooks are written and shown to nobody."""
    gate: Literal["verified", "replay", "review"] = "verified"
    """verified: a lesson behind an executed check enters trial by itself; replay: one that passed the flip gate of
    `atlas learning gate`; review: a person decides."""
    promotion: Literal["each", "fdr"] = "each"
    """When a lesson in trial becomes active. each: its own e-value for help reaches 20; fdr: it is among those found
    over all lessons of the playbook at a false discovery rate of 5 % (e-BH)."""
    compare: CompareConfig = CompareConfig()
    """Measuring a lesson in doubt by a second try."""
    flip_gate: FlipGateConfig = FlipGateConfig()
    """The gate of `atlas learning gate`."""
    rent: RentConfig = RentConfig()
    """Measuring whether a lesson is worth its tokens."""
    max_entries_shown: int = Field(default=3, ge=0, le=20)
    """Entries in one prompt."""
    max_entry_tokens: int = Field(default=200, ge=10, le=4000)
    """Tokens of all entries in one prompt."""
    holdout_trial: float = Field(default=0.2, ge=0, le=0.9)
    """Share of matching sessions from which an entry in trial is withheld, as its control."""
    holdout_active: float = Field(default=0.05, ge=0, le=0.9)
    """The same for an active entry."""
    pruning: PruningConfig = PruningConfig()
    """When an entry is retired."""
