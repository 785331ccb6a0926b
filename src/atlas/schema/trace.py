"""Where a session's events go. The runtime implements it; lanes, roles, models and judges only record."""

from __future__ import annotations

from typing import Protocol

from atlas.schema.events import Body, Event


class Trace(Protocol):
    """The record of one session: append-only, durable before the next step acts on it."""

    @property
    def session_id(self) -> str:
        """The session that is recorded."""
        ...

    async def record(self, body: Body) -> Event:
        """Append one event and return once it is durable.

        Raises:
            StoreError: neither the store nor its local spool could take it.
        """
        ...
