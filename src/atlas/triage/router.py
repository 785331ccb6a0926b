"""Routing: forced, first-run certification, history, probe, fallback, in this order; each with its reason."""

from __future__ import annotations

from atlas.models import Caller
from atlas.schema import Dossier, Lane, Noun, Route, Task, content_hash
from atlas.schema.errors import BudgetError, ModelError
from atlas.schema.events import Degraded, Failure
from atlas.triage.arms import Arms
from atlas.triage.foreseeing import foreseen
from atlas.triage.history import HistoryRule, Known, Thresholds, route_by_history
from atlas.triage.probe import Probe


class RoutingRules(Noun):
    """What the router goes by."""

    enabled: bool = True
    """Off: the fallback lane always."""
    forced: Lane | None = None
    """A lane for every session."""
    certify_first_run: bool = True
    """Play the first session of a key paired."""
    fallback: Lane = "paired"
    """When nothing else speaks."""
    audit_share: float = 0.05
    """Share of auto sessions that are played paired all the same, so that history stays true."""
    thresholds: Thresholds = Thresholds()
    """How sure a lane has to be."""
    history: HistoryRule = HistoryRule()
    """How history is read."""


class Router:
    """Chooses a session's lane."""

    def __init__(
        self, rules: RoutingRules, *, probe: Probe | None, has_teacher: bool, arms: Arms | None = None
    ) -> None:
        """`arms` are fitted estimates; for the keys they know they speak before the key's plain history does."""
        self._rules = rules
        self._arms = arms
        self._probe = probe
        self._has_teacher = has_teacher

    async def route(
        self, task: Task, dossier: Dossier, known: Known, caller: Caller, *, forced: Lane | None = None
    ) -> Route:
        """The lane of this session. Never raises for a failing probe: it degrades to the fallback and records it."""
        rules = self._rules
        lane = forced or rules.forced
        if not self._has_teacher:
            wanted = f"; {lane} was asked for" if lane in ("paired", "coach") else ""
            return Route(lane="auto", source="fallback", reason=f"no teacher is configured{wanted}")
        if lane is not None:
            return Route(lane=lane, source="forced", reason=f"{lane} was asked for")
        if not rules.enabled:
            return Route(lane=rules.fallback, source="fallback", reason="adaptive teaching is off")
        if rules.certify_first_run and not known.outcomes:
            return Route(lane="paired", source="certification", reason=f"first session of key {task.learning_key}")
        route = foreseen(task, known.outcomes, self._arms, rules.thresholds) if self._arms else None
        route = route or route_by_history(known, rules.history, rules.thresholds)
        if route is not None:
            return self._audited(route, caller.trace.session_id)
        return await self._probed(task, dossier, known, caller)

    def _audited(self, route: Route, session_id: str) -> Route:
        draw = int(content_hash(session_id, "audit")[:8], 16) / 2**32
        if route.lane != "auto" or draw >= self._rules.audit_share:
            return route
        reason = f"spot check of the auto lane ({self._rules.audit_share:.0%} of sessions); {route.reason}"
        return route.model_copy(update={"lane": "paired", "reason": reason})

    async def _probed(self, task: Task, dossier: Dossier, known: Known, caller: Caller) -> Route:
        few = f"{len(known.outcomes)} earlier sessions are too few"
        if self._probe is None:
            return Route(lane=self._rules.fallback, source="fallback", reason=f"{few}, no probe is configured")
        try:
            confidence = await self._probe.confidence(task, dossier, known.outcomes, caller)
        except (ModelError, BudgetError) as error:
            await caller.trace.record(Degraded(what="the probe gave no word", failure=Failure.of(error)))
            return Route(lane=self._rules.fallback, source="fallback", reason=f"{few}, the probe failed")
        lane = self._rules.thresholds.lane(confidence)
        return Route(lane=lane, confidence=confidence, source="probe", reason=f"{few}; the probe says {confidence:.2f}")
