"""What serves: a checkpoint in a seat of the loop, with where it came from and what was measured about it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from atlas.schema.base import Noun, now
from atlas.schema.memory import Evidence

PolicyRole = Literal["student", "teacher"]
PolicyState = Literal["canary", "active", "retired", "rolled_back"]


class Policy(Noun):
    """One checkpoint that serves, has served, or wants to."""

    id: str
    """UUID version 7."""
    role: PolicyRole
    """Which seat it is for."""
    sha256: str
    """Hash of its weights; its files lie in a folder named after the first twelve digits."""
    source: str
    """Where it was taken from: a run's folder, or the name of a shipped checkpoint."""
    run: str | None = None
    """The training run that made it, from whose record the sessions follow that it learned from."""
    previous: str | None = None
    """The policy it is compared with; None: the checkpoint that the loop's configuration names."""
    state: PolicyState = "canary"
    """canary, active (at most one of a role), retired, or rolled_back."""
    evidence: Evidence = Evidence()
    """Paired tasks with it and without it."""
    reason: str = Field(default="")
    """Why it is in this state, in one sentence."""
    created_at: datetime = Field(default_factory=now)
    """When it entered (UTC)."""
    changed_at: datetime = Field(default_factory=now)
    """When its state changed last (UTC)."""
