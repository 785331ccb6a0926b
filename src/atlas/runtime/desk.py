"""Triage of one session: dossier, then route, each on record; a resumed session keeps what it had."""

from __future__ import annotations

from atlas.models import Caller
from atlas.runtime.trace import SessionTrace
from atlas.schema import Dossier, Event, Lane, Route, Task
from atlas.schema.errors import AgentError
from atlas.schema.events import Degraded, Failure, Routed, Triaged
from atlas.triage import Known, Router, TriageAdapter, adapted_dossier, default_dossier


class TriageDesk:
    """Writes the dossier and asks the router."""

    def __init__(self, router: Router, *, adapter: TriageAdapter | None = None, tags: tuple[str, ...] = ()) -> None:
        self._router = router
        self._adapter = adapter
        self._tags = tags

    async def route(self, task: Task, known: Known, caller: Caller, *, forced: Lane | None) -> Route:
        """The session's lane."""
        trace = caller.trace
        kept = _kept(trace.events) if isinstance(trace, SessionTrace) else None
        if kept is not None:
            return kept
        dossier = await self._dossier(task, caller)
        await trace.record(Triaged(dossier=dossier))
        route = await self._router.route(task, dossier, known, caller, forced=forced)
        await trace.record(Routed(route=route))
        return route

    async def _dossier(self, task: Task, caller: Caller) -> Dossier:
        if self._adapter is None:
            return default_dossier(task, self._tags)
        try:
            return await adapted_dossier(self._adapter, task)
        except Exception as error:  # the boundary to the user's own code: whatever it raises is recorded once, here
            failure = AgentError(f"The triage adapter raised {type(error).__name__}: {error}")
            await caller.trace.record(Degraded(what="no dossier of the adapter", failure=Failure.of(failure)))
            return default_dossier(task, self._tags)


def _kept(events: list[Event]) -> Route | None:
    for event in events:
        if isinstance(event.body, Routed):
            return event.body.route
    return None
