"""What a reviewer decides about sessions, bound to the content that was seen."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from atlas.schema import Lane, Noun, Status
from atlas.schema.errors import ConfigError, StaleVersion, StoreError
from atlas.store.base import SHORT_ID, ReviewStatus
from atlas.store.database import Database
from atlas.store.mark import Mark
from atlas.store.pooling import escape, unescape

PAGE = 50
"""Sessions fetched, and hashed, in one round trip."""
HASHED_EVENTS = 2000
"""Events up to which a session of a list is hashed."""
SHORTEST_HASH = 12
"""Characters of a content hash that suffice."""


class Drift(Noun):
    """How a session differs from those before it of its tenant, key, lane and policy."""

    alert: bool = Field(alias="drift_alert")
    """Whether it lies beyond the configured threshold."""
    score: float
    """Distance from the baseline in standard deviations: of the reward or of the tokens, whichever is farther."""
    reason: str
    """Value and baseline in words."""
    n: int
    """Sessions of the baseline."""
    reward: dict[str, float]
    """value, mean, std and z of the reward (a payload)."""
    tokens: dict[str, float]
    """value, mean, std and z of the tokens (a payload)."""


class ReviewRow(Noun):
    """A session as a reviewer sees it in a list."""

    id: str
    """UUID version 7."""
    prompt: str
    """The task, whole."""
    learning_key: str
    """Its group."""
    tenant: str
    """Its owner."""
    lane: Lane | None
    """None before routing."""
    status: Status
    """running or a final state."""
    review: ReviewStatus
    """What was decided; pending again after an approved session went on."""
    by: str | None
    """Who decided last."""
    at: datetime | None
    """When (UTC)."""
    note: str | None
    """What was said."""
    reward: float | None
    """None until judged, or when no judge could tell."""
    drift: Drift | None
    """None while too few sessions came before it."""
    hash: str
    """SHA-256 over the events as stored; a decision can be bound to it."""
    created_at: datetime
    """When it started (UTC)."""


class Decision(Noun):
    """One line of a session's audit trail."""

    at: datetime
    """When (UTC)."""
    who: str
    """The reviewer; `atlas` where a session was reopened because it went on."""
    what: Literal["approved", "quarantined", "pending", "reopened", "deleted"]
    """What was decided."""
    hash: str | None
    """Content hash that it was decided about."""
    note: str | None
    """What was said."""


class Queued(Noun):
    """A session as a reviewer decides about it."""

    id: str
    """UUID version 7."""
    prompt: str
    """The task's first 2,000 characters."""
    answer: str | None
    """The answer's first 8,000 characters."""
    accepted: bool | None
    """The teacher's word on it."""
    key: str
    """Its learning key."""
    tenant: str
    """Its owner."""
    lane: Lane | None
    """None before routing."""
    status: Status
    """A final state."""
    reward: float | None
    """In [0, 1]; None when no judge could tell."""
    drift: Drift | None
    """None while too few sessions came before it."""
    review: ReviewStatus
    """What was decided."""
    review_by: str | None
    """Who decided last."""
    review_at: datetime | None
    """When (UTC)."""
    review_note: str | None
    """What was said."""
    hash: str | None
    """SHA-256 over its events as stored; None for a session of more than `HASHED_EVENTS`, whose own page shows it."""
    created_at: datetime
    """When it started (UTC)."""


class Standing(Noun):
    """The last decision about a session."""

    review: ReviewStatus
    """What was decided."""
    at: datetime | None = None
    """When (UTC); None before the first one."""


class Seen(Noun):
    """What a reviewer saw when they decided."""

    session: uuid.UUID
    """Which session."""
    hash: str = Field(min_length=64, max_length=64, pattern="^[0-9a-f]+$")
    """SHA-256 over its events."""
    standing: Standing
    """The decision before."""


class ReviewDesk:
    """Lists sessions for review and records decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sessions(
        self,
        *,
        reviews: Sequence[ReviewStatus] | None = None,
        learning_key: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> AsyncIterator[ReviewRow]:
        """Sessions with their content hash and drift, newest first.

        Raises:
            StoreUnavailable: the database is away.
        """
        chosen = None if reviews is None else list(reviews)
        key = None if learning_key is None else escape(learning_key)
        after: tuple[datetime | None, uuid.UUID | None] = (None, None)
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            rows = await self._database.rows("review_list", chosen, key, *after, size, offset)
            for row in rows:
                yield _row(row)
            if len(rows) < size:
                return
            after, offset = (rows[-1]["created_at"], rows[-1]["uid"]), 0
            left = None if left is None else left - size

    async def decide(
        self, session_id: str, decision: ReviewStatus, *, who: str, note: str | None = None, seen: str | None = None
    ) -> str:
        """Record a decision, which replaces the last one; returns the hash of the content it is about.

        `seen` is the hash of what the reviewer saw, or at least twelve characters of its beginning.

        Raises:
            StaleVersion: the session's content is not what was seen; nothing was recorded.
            ConfigError: there is no such session.
            StoreError: several sessions begin so.
        """
        uid = await find(self._database, session_id)
        said = None if note is None else escape(note)
        rows = await self._database.rows("decide", uid, decision, escape(who), said, seen)
        if not rows:
            raise _unknown(session_id)
        found = str(rows[0]["hash"])
        if not rows[0]["done"]:
            cause = f"Session {uid} has the content {found[:SHORTEST_HASH]}, not {str(seen)[:SHORTEST_HASH]}."
            raise StaleVersion(cause, "Look at it again, then decide with its present hash.")
        return found

    async def queue(
        self, review: ReviewStatus, *, key: str | None = None, alarms: bool = False, below: Mark, limit: int
    ) -> list[Queued]:
        """Finished sessions of which this was decided, newest first, below a mark; with `alarms` those that drift."""
        stored = None if key is None else escape(key)
        rows = await self._database.rows("queue", review, below.at, below.uid, stored, limit, HASHED_EVENTS, alarms)
        return [_queued(row) for row in rows]

    async def decide_as_seen(
        self, seen: Seen, decision: ReviewStatus, *, who: str, note: str | None = None
    ) -> Standing:
        """Record a decision about a session that nobody changed since it was seen: neither its content nor its review.

        Raises:
            StaleVersion: it went on, or somebody else decided meanwhile; nothing was recorded.
            ConfigError: there is no such session.
        """
        said = None if note is None else escape(note)
        was = (seen.hash, seen.standing.review, seen.standing.at)
        rows = await self._database.rows("decide_as_seen", seen.session, decision, escape(who), said, *was)
        if not rows:
            raise _unknown(str(seen.session))
        if rows[0]["moved"] is not None:
            raise StaleVersion(f"It is {unescape(rows[0]['moved'])} by now.", "Look at it again, then decide.")
        if not rows[0]["done"]:
            raise StaleVersion("Its content is not what you saw.", "Look at it again, then decide.")
        row = (await self._database.rows("standing", seen.session))[0]
        return Standing(review=row["review_status"], at=row["review_at"])

    async def content(self, session_id: uuid.UUID) -> str:
        """The hash of a session's events as stored, to which a decision can be bound."""
        return str(await self._database.value("content", session_id))

    async def trail(self, session_id: str) -> list[Decision]:
        """What was decided about a session, oldest first; also about one that is deleted, by its whole id."""
        digits = _digits(session_id)
        uid = uuid.UUID(digits) if len(digits) == 32 else await find(self._database, session_id)
        return [
            Decision(
                at=row["at"], who=unescape(row["who"]), what=row["what"], hash=row["hash"], note=_text(row["note"])
            )
            for row in await self._database.rows("trail", uid)
        ]


async def find(database: Database, session_id: str) -> uuid.UUID:
    """The session that a person means: a UUID, a unique beginning or end of one, or a number of the table `sessions`.

    Raises:
        ConfigError: there is none.
        StoreError: several begin so.
    """
    digits = _digits(session_id)
    if session_id.isdecimal() and not session_id.startswith("0") and len(session_id) <= 18:
        rows = await database.rows("numbered", int(session_id))
    elif digits:
        low, high = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
        rows = await database.rows("named", low, high)
    else:
        raise _unknown(session_id)
    if not rows and len(digits) >= SHORT_ID:
        rows = await database.rows("ending", digits)
    if not rows:
        raise _unknown(session_id)
    if len(rows) > 1:
        raise StoreError(f"Several sessions begin with {session_id}, or end so.", "Give more of the id.")
    return uuid.UUID(str(rows[0]["uid"]))


def _digits(session_id: str) -> str:
    """The hexadecimal digits of a UUID or of the beginning of one; empty for anything else."""
    digits = session_id.replace("-", "").lower()
    return digits if len(digits) <= 32 and not set(digits) - set("0123456789abcdef") else ""


def _unknown(session_id: str) -> ConfigError:
    return ConfigError(f"There is no session {session_id[:64]}.", "List them with: atlas session list")


def _text(stored: str | None) -> str | None:
    return None if stored is None else unescape(stored)


def _row(row: Any) -> ReviewRow:
    return ReviewRow(
        id=str(row["uid"]),
        prompt=unescape(row["task"]),
        learning_key=unescape(row["learning_key"]),
        tenant=unescape(row["tenant"]),
        lane=row["lane"],
        status=row["status"],
        review=row["review_status"],
        by=_text(row["review_by"]),
        at=row["review_at"],
        note=_text(row["review_notes"]),
        reward=row["reward_value"],
        drift=None if row["drift"] is None else drift_of(row["drift"]),
        hash=row["hash"],
        created_at=row["created_at"],
    )


def _queued(row: Any) -> Queued:
    return Queued(
        id=str(row["uid"]),
        prompt=unescape(row["task"]),
        answer=_text(row["answer"]),
        accepted=row["accepted"],
        key=unescape(row["learning_key"]),
        tenant=unescape(row["tenant"]),
        lane=row["lane"],
        status=row["status"],
        reward=row["reward_value"],
        drift=None if row["drift"] is None else drift_of(row["drift"]),
        review=row["review_status"],
        review_by=_text(row["review_by"]),
        review_at=row["review_at"],
        review_note=_text(row["review_notes"]),
        hash=row["hash"],
        created_at=row["created_at"],
    )


def drift_of(stored: str) -> Drift | None:
    """The finding in a session's metadata; None where the caller's own label of that name stands there."""
    try:
        return Drift.model_validate_json(stored)
    except ValidationError:
        return None
