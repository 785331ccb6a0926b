"""What pages show of sessions: the nouns of `store/browse.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from atlas.schema import Lane, Noun, Status
from atlas.store.base import ReviewStatus
from atlas.store.review import Drift

COUNTED = 1000
"""How far a tally counts."""


class Filters(Noun):
    """What a listed session must be; None asks nothing."""

    status: Status | None = None
    """Its state; a running one whose process is gone counts as interrupted."""
    lane: Lane | None = None
    """Its lane."""
    key: str | None = None
    """Its learning key."""
    tenant: str | None = None
    """Its owner."""
    review: ReviewStatus | None = None
    """What a reviewer decided."""
    drift: bool | None = None
    """Whether it raised an alarm."""
    min_reward: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest reward."""
    max_reward: float | None = Field(default=None, allow_inf_nan=False)
    """Largest reward."""
    min_cost: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest cost in US dollars."""
    max_cost: float | None = Field(default=None, allow_inf_nan=False)
    """Largest cost in US dollars."""
    since: datetime | None = None
    """Started at this moment or later (UTC)."""
    until: datetime | None = None
    """Started at this moment or earlier (UTC)."""
    text: str | None = None
    """Words that its task or answer contains, in any case."""


class ListedSession(Noun):
    """One line of the list of sessions."""

    id: str
    """UUID version 7."""
    prompt: str
    """The task's first 300 characters."""
    key: str
    """Its learning key."""
    tenant: str
    """Its owner."""
    status: Status
    """running or a final state."""
    lane: Lane | None
    """None before routing."""
    reward: float | None
    """In [0, 1]; None until judged, or when no judge could tell."""
    accepted: bool | None
    """The teacher's word on the answer; None when nobody reviewed it."""
    tokens: int
    """All roles together."""
    cost_usd: float | None
    """None when no price is known."""
    review: ReviewStatus
    """What a reviewer decided."""
    drift: bool | None
    """Whether it raised an alarm; None while too few sessions came before it."""
    created_at: datetime
    """When it started (UTC)."""
    completed_at: datetime | None
    """When it reached a final state (UTC)."""


class Tally(Noun):
    """How many there are, counted no further than `COUNTED`."""

    running: int
    """Sessions that run now."""
    pending: int
    """Finished sessions that nobody has reviewed."""
    sessions: int
    """All of them."""


class SessionHead(ListedSession):
    """A session without its events."""

    number: int
    """Its number in the table `sessions`."""
    prompt_length: int
    """Characters of the task; `prompt` holds at most 20,000 of them."""
    answer: str | None
    """The answer's first 20,000 characters."""
    policy: str
    """Which models served."""
    playbook_version: int
    """Version of the student's playbook it saw."""
    review_by: str | None
    """Who decided last."""
    review_at: datetime | None
    """When (UTC)."""
    review_note: str | None
    """What was said."""
    finding: Drift | None
    """How it differs from the sessions before it."""
    last_seq: int
    """Number of its last event, which is how many there are."""


class SeenEvent(Noun):
    """An event as a page shows it."""

    seq: int
    """Its number."""
    at: datetime
    """When it happened (UTC)."""
    type: str
    """Its kind."""
    actor: str | None
    """On whose behalf."""
    step: int | None
    """Which step; 0 for the whole task."""
    attempt: int | None
    """Which attempt."""
    name: str | None
    """Model, tool or judge."""
    duration_s: float | None
    """Seconds it took."""
    tokens: int | None
    """Tokens of a model's call."""
    cost_usd: float | None
    """Its cost in US dollars."""
    stored_bytes: int
    """What its body takes in the database, compressed."""
    body: dict[str, Any] | None
    """Its fields (a payload); None where it is too long for a window."""


class Spent(Noun):
    """What one role used for one purpose."""

    actor: str
    """Which role."""
    purpose: str
    """What for."""
    model: str
    """Which model; the last by name where there were several."""
    calls: int
    """Model calls."""
    prompt_tokens: int
    """Tokens read, cached ones included."""
    cached_tokens: int
    """Of these, served from the provider's prefix cache."""
    completion_tokens: int
    """Tokens written."""
    cost_usd: float | None
    """US dollars; None when no price is known."""
    seconds: float
    """Wall-clock seconds of its calls together."""
    median_s: float | None
    """Median of one call."""
    slowest_s: float | None
    """The slowest call."""
