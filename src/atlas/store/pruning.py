"""Deleting sessions: by age, owner or id. Whole weeks are dropped; what was learnt from them stays."""

from __future__ import annotations

import uuid
from datetime import datetime

from atlas.schema import Noun
from atlas.store.database import Database
from atlas.store.pooling import escape
from atlas.store.review import find

BATCH = 200
"""Sessions deleted in one transaction."""


class Doomed(Noun):
    """Which sessions go: those for which all that is given holds, and which do not run."""

    before: datetime | None = None
    """Started before this moment."""
    tenant: str | None = None
    """Of this owner."""
    session_id: str | None = None
    """This one; a unique beginning of its id suffices."""
    keep_approved: bool = False
    """Whether approved ones stay."""


class Pruned(Noun):
    """What went."""

    sessions: int = 0
    """Sessions."""
    events: int = 0
    """Their events."""
    weeks: int = 0
    """Weekly partitions that were dropped whole."""

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            sessions=self.sessions + other.sessions,
            events=self.events + other.events,
            weeks=self.weeks + other.weeks,
        )


async def would_prune(database: Database, doomed: Doomed) -> Pruned:
    """What `prune` would delete now.

    Raises:
        ConfigError: there is no such session.
        StoreError: several begin so, or the database is away.
    """
    chosen = await _chosen(database, doomed)
    uids = [row["uid"] for row in await database.rows("doomed", *chosen)]
    weeks = await database.rows("doomed_weeks", *chosen)
    return Pruned(sessions=len(uids), events=await database.value("doomed_events", uids), weeks=len(weeks))


async def prune(database: Database, doomed: Doomed, *, who: str) -> Pruned:
    """Delete sessions with their events. Killed at any point, a second call completes it.

    Playbooks stay, and so does the trail: each deleted session keeps one line in `audit`, so that a lesson's provenance
    can be told. The notes of reviewers go.

    Raises:
        ConfigError: there is no such session.
        StoreError: several begin so, or the database is away.
    """
    before, tenant, uid, keep = await _chosen(database, doomed)
    by_whom = escape(who)
    told = Pruned()
    for week in await database.rows("doomed_weeks", before, tenant, uid, keep):
        for row in await database.rows("drop_week", week["part"], by_whom, before, tenant, keep):
            told += Pruned(sessions=row["sessions"], events=row["events"], weeks=1)
    left = [row["uid"] for row in await database.rows("doomed", before, tenant, uid, keep)]
    for start in range(0, len(left), BATCH):
        batch = left[start : start + BATCH]
        for row in await database.rows("forget", batch, by_whom, before, tenant, uid, keep):
            told += Pruned(sessions=row["sessions"], events=row["events"])
    return told


async def _chosen(database: Database, doomed: Doomed) -> tuple[datetime | None, str | None, uuid.UUID | None, bool]:
    uid = None if doomed.session_id is None else await find(database, doomed.session_id)
    tenant = None if doomed.tenant is None else escape(doomed.tenant)
    return doomed.before, tenant, uid, doomed.keep_approved
