"""What pages show of progress: sessions of a key as points, by owner and key, and by the policy that served."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from atlas.schema import Lane, Noun
from atlas.schema.policy import Policy
from atlas.store.database import Database
from atlas.store.pooling import escape, unescape
from atlas.store.review import Drift, drift_of

RECENT = 20_000
"""Newest sessions over which keys and policies are summed up."""


DEPLOYED = 200
"""Newest checkpoints and training runs that are listed."""


class KeyLine(Noun):
    """A learning key among the newest sessions."""

    tenant: str
    """Its owner."""
    key: str
    """The key."""
    sessions: int
    """Its sessions."""
    rewarded: int
    """Of these, those with a reward."""
    reward: float | None
    """Mean reward; None without one."""
    tokens: float
    """Mean tokens of a session."""
    cost_usd: float | None
    """What they cost together; None when no price is known."""
    last: datetime
    """When the newest started (UTC)."""
    alarms: int
    """Sessions unlike those before them."""


class PolicyLine(Noun):
    """What served, among the newest sessions."""

    policy: str
    """Which models, as `student=…;teacher=…`."""
    sessions: int
    """Sessions they served."""
    rewarded: int
    """Of these, those with a reward."""
    reward: float
    """Sum of the rewards."""
    tokens: float
    """Mean tokens of a session."""
    cost_usd: float | None
    """What they cost together; None when no price is known."""
    first: datetime
    """When the oldest of them started (UTC)."""
    last: datetime
    """When the newest started (UTC)."""


class Point(Noun):
    """One finished session of a key."""

    uid: uuid.UUID
    """Its id."""
    at: datetime
    """When it started (UTC)."""
    lane: Lane
    """Its lane."""
    reward: float | None
    """None when no judge could tell."""
    tokens: int
    """All roles together."""
    cost_usd: float | None
    """None when no price is known."""
    policy: str
    """Which models served."""


class Shares(Noun):
    """Tokens of one session."""

    student: int
    """The student's own."""
    others: int
    """Of teacher, probe, judges and curator."""


class Tries(Noun):
    """The first try of a session and its end."""

    first: float | None
    """Smallest reward of a first try, as a check read it; None where none read it."""
    final: float
    """The session's reward."""


class Alarm(Noun):
    """A session unlike those before it."""

    id: str
    """UUID version 7."""
    prompt: str
    """The task's first 300 characters."""
    at: datetime
    """When it started (UTC)."""
    drift: Drift | None
    """How it differs."""


class Progress:
    """Reads for pages about learning."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keys(self) -> list[KeyLine]:
        """The keys of the newest sessions, the most recent first."""
        rows = await self._database.rows("progress_keys", RECENT)
        return [
            KeyLine.model_validate({**row, "tenant": unescape(row["tenant"]), "key": unescape(row["key"])})
            for row in map(dict[str, Any], rows)
        ]

    async def policies(self) -> list[PolicyLine]:
        """What served the newest sessions, the most recent first."""
        rows = await self._database.rows("progress_policies", RECENT)
        return [
            PolicyLine.model_validate({**row, "policy": unescape(row["policy"])}) for row in map(dict[str, Any], rows)
        ]

    async def deployed(self) -> list[Policy]:
        """Checkpoints that serve, have served, or want to, newest first."""
        return [
            Policy.model_validate_json(row["policy"])
            for row in await self._database.rows("progress_deployed", DEPLOYED)
        ]

    async def runs(self) -> list[dict[str, Any]]:
        """The manifests of the newest training runs, which are payloads here."""
        return [json.loads(row["manifest"]) for row in await self._database.rows("progress_runs", DEPLOYED)]

    async def points(self, tenant: str, key: str, *, limit: int) -> list[Point]:
        """The newest finished sessions of a key, oldest first."""
        return _points(await self._database.rows("progress_points", escape(tenant), escape(key), limit))

    async def first(self, tenant: str, key: str, *, limit: int) -> list[Point]:
        """The first finished sessions of a key."""
        return _points(await self._database.rows("progress_first", escape(tenant), escape(key), limit))

    async def shares(self, uids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Shares]:
        """Who used the tokens of these sessions."""
        rows = await self._database.rows("progress_roles", list(uids))
        return {row["uid"]: Shares(student=row["student"], others=row["others"]) for row in rows}

    async def tries(self, uids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Tries]:
        """First tries and ends of these sessions, as far as they have a reward."""
        rows = await self._database.rows("progress_tries", list(uids))
        return {row["uid"]: Tries(first=row["first"], final=row["final"]) for row in rows}

    async def alarms(self, tenant: str, key: str, *, limit: int = 20) -> list[Alarm]:
        """The newest alarms of a key."""
        rows = await self._database.rows("progress_alarms", escape(tenant), escape(key), limit)
        return [
            Alarm(id=str(row["uid"]), prompt=unescape(row["task"]), at=row["created_at"], drift=drift_of(row["drift"]))
            for row in rows
        ]


def _points(rows: Sequence[Any]) -> list[Point]:
    return [
        Point.model_validate({**row, "uid": uuid.UUID(str(row["uid"])), "policy": unescape(row["policy"])})
        for row in map(dict[str, Any], rows)
    ]
