"""From a configuration to a runtime: every room is furnished here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.agents import Agent
from atlas.config import AtlasConfig
from atlas.lanes import AutoLane, CoachLane, LanePlay, PairedLane
from atlas.models import HttpPool
from atlas.roles import Student, Teacher
from atlas.runtime.desk import TriageDesk
from atlas.runtime.judging import rewarder_of, user_code
from atlas.runtime.learning import memory_of
from atlas.runtime.loop import Limits, Loop
from atlas.runtime.runtime import Closable, Runtime
from atlas.runtime.seats import Models, open_agent, student_of, teacher_of
from atlas.runtime.telemetry import EVERYWHERE, EventBus
from atlas.runtime.telemetry.otel import export_spans
from atlas.runtime.unheard import Unheard
from atlas.schema import Lane
from atlas.store import Safety, Store, open_store, safety_of
from atlas.triage import (
    HistoryRule,
    Probe,
    Router,
    Routes,
    RoutingRules,
    Thresholds,
    TriageAdapter,
    load_routes,
    second_look,
)

STATE_FOLDER = ".atlas"
"""Where the embedded database and the spool are, below the project's folder."""


async def open_runtime(
    config: AtlasConfig,
    *,
    folder: Path,
    bus: EventBus | None = None,
    agent: Callable[..., Any] | Agent | None = None,
    user_loop: asyncio.AbstractEventLoop | None = None,
) -> Runtime:
    """A runtime for this configuration. `folder` is the user's project: paths and imports start there.

    `agent` is what `agent.type: given` stands for; async code of the user runs on `user_loop`, where one is given.

    Raises:
        ConfigError: something the configuration names is missing or unusable.
        StoreError: the database cannot be reached.
    """
    bus = bus or EventBus(parent=EVERYWHERE)
    safety = safety_of(config.runtime_safety, secrets=config.secret_variables)
    models = Models(config, HttpPool(), folder)
    held: list[Closable] = [models]
    try:
        student = student_of(config, open_agent(config, models, folder, given=agent, user_loop=user_loop))
        teacher = teacher_of(config, models.seat("teacher"))
        routes = _routes(config, folder)
        triage = TriageDesk(
            _router(config, models, has_teacher=teacher is not None, routes=routes),
            adapter=_adapter(config, folder),
            tags=config.adaptive_teaching.default_tags,
        )
        rewarder = rewarder_of(config, models, folder)
        memory = memory_of(config, models, folder)
        if not student.agent.abilities.injects:
            memory = Unheard(memory)
        spans = export_spans(bus, config.telemetry, agent=config.agent.name, clean=safety.boundary.noun)
        held += [spans] if spans else []
        store = await _store(config, folder, safety)
    except BaseException:
        for each in held:
            await each.close()
        raise
    loop = Loop(
        store,
        memory,
        triage=triage,
        lanes=_lanes(config, student, teacher, routes),
        judges=rewarder,
        limits=_limits(config),
    )
    policy = _policy(config, student.agent, teacher)
    return Runtime(
        loop,
        store,
        bus,
        policy=policy,
        tells_steps=config.orchestration.emit_intermediate_steps,
        closables=(student.agent, *held),
    )


def _policy(config: AtlasConfig, agent: Agent, teacher: Teacher | None) -> str:
    """Which models serve, on one line; a student that the user named carries the name."""
    name = config.agent.name
    student = agent.name if name in ("agent", agent.name) else f"{name} ({agent.name})"
    return f"student={student}" + (f";teacher={teacher.model.name}" if teacher else "")


def _routes(config: AtlasConfig, folder: Path) -> Routes | None:
    path = config.adaptive_teaching.history.routes
    return None if path is None else load_routes(folder / path)


def _lanes(
    config: AtlasConfig, student: Student, teacher: Teacher | None, routes: Routes | None
) -> dict[Lane, LanePlay]:
    """Without a teacher there is only the auto lane; the router knows."""
    if teacher is None:
        return {"auto": AutoLane(student)}
    retries = config.orchestration.max_retries
    look = second_look(routes.after) if routes and routes.after else None
    return {
        "auto": AutoLane(student, teacher, look=look, retries=retries),
        "paired": PairedLane(student, teacher, retries=retries),
        "coach": CoachLane(student, teacher, retries=retries, parallel_steps=config.orchestration.max_parallel_steps),
    }


def _router(config: AtlasConfig, models: Models, *, has_teacher: bool, routes: Routes | None) -> Router:
    teaching = config.adaptive_teaching
    seat = teaching.probe
    model = models.seat("probe") if seat.enabled else None
    probe = Probe(model, evidence_limit=seat.evidence_limit, timeout_s=seat.timeout_seconds) if model else None
    thresholds = teaching.probe.thresholds
    rules = RoutingRules(
        enabled=teaching.enabled,
        forced=config.forced_lane,
        certify_first_run=teaching.certify_first_run,
        fallback=teaching.probe.fallback_mode,
        audit_share=teaching.history.audit_share,
        thresholds=Thresholds(auto=thresholds.auto, paired=thresholds.paired, coach=thresholds.coach),
        history=HistoryRule(min_sessions=teaching.history.min_sessions, confidence=teaching.history.confidence),
    )
    return Router(rules, probe=probe, has_teacher=has_teacher, arms=routes.before if routes else None)


def _adapter(config: AtlasConfig, folder: Path) -> TriageAdapter | None:
    path = config.adaptive_teaching.triage_adapter
    return None if path is None else user_code(path, folder)


def _limits(config: AtlasConfig) -> Limits:
    return Limits(
        session_timeout_s=config.orchestration.session_timeout_seconds,
        call_timeout_s=config.orchestration.call_timeout_seconds,
        max_tokens=config.orchestration.max_session_tokens,
        history=config.adaptive_teaching.history.limit,
    )


async def _store(config: AtlasConfig, folder: Path, safety: Safety) -> Store:
    storage = config.storage
    if storage is None:
        return await open_store(None, folder=folder / STATE_FOLDER, embedded=False, safety=safety)
    return await open_store(
        storage.database_url,
        folder=folder / STATE_FOLDER,
        embedded=storage.embedded,
        sizes=(storage.min_connections, storage.max_connections),
        statement_timeout_s=storage.statement_timeout_seconds,
        safety=safety,
    )
