"""What is asked, what triage knows before the run, and the lane that was chosen."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from atlas.schema.base import Noun, content_hash

Lane = Literal["auto", "paired", "coach"]
LANES: tuple[Lane, ...] = ("auto", "paired", "coach")


class Task(Noun):
    """What is asked of the agent."""

    prompt: str
    """The request in words."""
    payload: dict[str, Any] = Field(default_factory=dict)
    """The caller's own data for adapters and checks; never shown to a model by Atlas."""
    learning_key: str = "default"
    """Groups sessions that learn from each other."""
    tenant: str = "default"
    """Owner; memory is never shared between tenants."""

    @property
    def identity(self) -> str:
        """Content hash over prompt, key and tenant."""
        return content_hash(self.prompt, self.learning_key, self.tenant)


class Dossier(Noun):
    """What triage knows before the run."""

    summary: str = ""
    """The task in one line."""
    risks: tuple[str, ...] = ()
    """What could go wrong, one phrase each; a risk never lowers supervision."""
    signals: tuple[str, ...] = ()
    """Facts that speak for or against a lane."""
    tags: tuple[str, ...] = ()
    """Labels of the user or of the triage adapter."""


class Route(Noun):
    """The lane of a session, with what confidence, and why."""

    lane: Lane
    """Which lane plays."""
    confidence: float | None = None
    """Estimated probability in [0, 1] that the student succeeds alone; None when nothing is known."""
    source: Literal["forced", "certification", "history", "probe", "fallback"] = "fallback"
    """What decided."""
    reason: str = ""
    """One sentence for a person."""
