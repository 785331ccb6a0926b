"""The socket of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal, Protocol

from atlas.schema import Audience, Background, Event, Lane, Noun, Playbook, Recalled, Session, Status
from atlas.schema.events import Compared

ReviewStatus = Literal["pending", "approved", "quarantined"]
"""What a reviewer decided about a session."""

SHORT_ID = 8
"""Characters at the end of a session's id under which progress shows it; commands take them for the whole."""


class Flushed(Noun):
    """What became of everything that was accepted so far. accepted == stored + refused + waiting, always."""

    accepted: int
    """Events taken by `append`."""
    stored: int
    """Events committed to the database."""
    refused: int
    """Events the database rejected for good; each is kept in the spool's refused file."""
    waiting: int
    """Events in the local spool that the database has not taken yet."""


class SessionRow(Noun):
    """One line of a session list."""

    id: str
    """UUID version 7."""
    prompt: str
    """The task, whole."""
    learning_key: str
    """Its group."""
    status: Status
    """running or a final state."""
    lane: Lane | None
    """None before routing."""
    reward: float | None
    """None until judged, or when no judge could tell."""
    tokens: int
    """All roles together."""
    cost_usd: float | None
    """None when no price is known."""
    created_at: datetime
    """When it started (UTC)."""
    review: ReviewStatus = "pending"
    """What a reviewer decided."""
    drift: bool | None = None
    """Whether it is unusual for its key; None while nothing is known."""


class LedgerRow(Noun):
    """What one finished session says about learning."""

    id: str
    """UUID version 7."""
    learning_key: str
    """Its group."""
    at: datetime
    """When it started (UTC)."""
    lane: Lane | None
    """None where it ended before it was routed."""
    policy: str
    """Which models served."""
    reward: float | None
    """None until judged, or when no judge could tell."""
    first_try: bool | None
    """Whether the first attempt stood; None when nobody can say."""
    tokens: int
    """All roles together."""
    cost_usd: float | None
    """None when no price is known."""
    student: Recalled
    """What of its playbook the student saw."""
    teacher: Recalled
    """What of its playbook the teacher saw."""
    compared: Compared | None = None
    """What the same task gave with a lesson the other way round."""
    replay_of: str | None = None
    """The stored session whose task it played once more; None for a session of the caller's."""


class Store(Protocol):
    """The append-only events, their projections, and the playbooks."""

    async def append(self, events: Sequence[Event]) -> None:
        """Take events, in order; on return a kill -9 of this process loses none of them.

        Raises:
            StoreError: neither the database nor the local spool could take them.
        """
        ...

    async def flush(self, *, timeout_s: float = 30.0) -> Flushed:
        """Wait until the database has what was accepted, or the time is over; then tell the truth."""
        ...

    async def commit(self, session: Session, playbooks: Sequence[Playbook] = ()) -> None:
        """Write a judged session's projections and new playbook versions in one transaction.

        A playbook of version v is accepted only while v - 1 is the newest of its tenant, key and audience.

        Raises:
            StaleVersion: somebody else wrote a newer version first; nothing was written.
            StoreUnavailable: the database is away; nothing was written.
        """
        ...

    async def publish(self, playbooks: Sequence[Playbook]) -> None:
        """Write new playbook versions that no session brought: an import, a rollback, a person's decision.

        The same compare-and-swap as `commit`, in one transaction.

        Raises:
            StaleVersion: somebody else wrote a newer version first; nothing was written.
            StoreUnavailable: the database is away; nothing was written.
        """
        ...

    async def background(self, tenant: str, key: str, *, limit: int) -> Background:
        """Newest playbooks and the last `limit` outcomes of a key, in one round trip.

        Raises:
            StoreUnavailable: the database is away.
        """
        ...

    async def playbook(self, tenant: str, key: str, audience: Audience, version: int | None = None) -> Playbook:
        """One version, the newest when `version` is None; version 0 (empty) where there is none."""
        ...

    def versions(self, tenant: str, key: str, audience: Audience) -> AsyncIterator[Playbook]:
        """All versions of a playbook, oldest first; the empty version 0 is none of them."""
        ...

    async def shelf(self, tenant: str) -> list[Playbook]:
        """The newest version of every playbook of a tenant, by key and audience."""
        ...

    def ledger(self, tenant: str, key: str | None = None) -> AsyncIterator[LedgerRow]:
        """What the finished sessions of a tenant, or of one of its keys, say about learning, oldest first."""
        ...

    async def session(self, session_id: str) -> Session | None:
        """The session rebuilt from its events; None when it is unknown. A unique beginning of its id suffices, or
        its last `SHORT_ID` characters."""
        ...

    async def events(self, session_id: str) -> list[Event]:
        """All events of a session in order of `seq`; what still waits in this process's spool included."""
        ...

    def sessions(
        self,
        *,
        status: Status | None = None,
        learning_key: str | None = None,
        review: ReviewStatus | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[SessionRow]:
        """Session lines, newest first."""
        ...

    async def interrupted(self) -> list[SessionRow]:
        """Sessions whose process died before they reached a final state, newest first.

        Raises:
            StoreUnavailable: the database is away.
        """
        ...

    async def claim(self, session_id: str) -> bool:
        """Take an interrupted session over, so that this process alone continues it; False when another was first.

        Raises:
            StoreUnavailable: the database is away.
        """
        ...

    async def close(self) -> None:
        """Flush and give back what it holds; calling it twice is harmless."""
        ...
