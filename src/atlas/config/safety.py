"""Drift alarms and the review gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.config.llm import Block


class DriftConfig(Block):
    """When a key's rewards are called unusual."""

    enabled: bool = True
    """Whether rewards are watched."""
    window: int = Field(default=50, ge=2, le=100_000)
    """Sessions that make the baseline."""
    z_threshold: float = Field(default=3.0, gt=0)
    """Distance from the baseline, in standard deviations, that raises the alarm."""
    min_baseline: int = Field(default=5, ge=2)
    """Sessions below which nothing is called unusual."""


class ReviewConfig(Block):
    """What may leave."""

    require_approval: bool = True
    """Whether only reviewed sessions are exported and trained on."""
    default_export_statuses: tuple[Literal["pending", "approved", "quarantined"], ...] = ("approved",)
    """Review states that an export takes when it is not told."""


class RuntimeSafetyConfig(Block):
    """Drift and review."""

    drift: DriftConfig = DriftConfig()
    """Drift alarms."""
    review: ReviewConfig = ReviewConfig()
    """The review gate."""
