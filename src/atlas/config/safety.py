"""Drift alarms, the review gate, and secrets."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

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


class RedactionConfig(Block):
    """What is taken out of texts before they are stored. What the caller gets is never changed."""

    enabled: bool = True
    """Whether secrets are replaced by `[redacted:kind]`: values of the environment, known forms of keys, random texts
    beside words such as token."""
    patterns: tuple[str, ...] = ()
    """Regular expressions of further secrets."""
    personal: bool = False
    """Whether e-mail addresses and bank account numbers are replaced too."""

    @field_validator("patterns")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                empty = re.compile(pattern).match("") is not None
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if empty:
                raise ValueError(f"{pattern!r} matches the empty text")
        return patterns


class RuntimeSafetyConfig(Block):
    """Drift, review, and what is stored."""

    drift: DriftConfig = DriftConfig()
    """Drift alarms."""
    review: ReviewConfig = ReviewConfig()
    """The review gate."""
    redaction: RedactionConfig = RedactionConfig()
    """Secrets in what is stored."""
    capture_content: bool = True
    """Whether tasks, answers and messages are stored; false stores their lengths and hashes only."""
