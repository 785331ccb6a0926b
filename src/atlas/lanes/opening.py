"""The first attempt at a whole task."""

from __future__ import annotations

from atlas.roles import Scene, Student, Try
from atlas.schema.errors import AgentError
from atlas.schema.events import Degraded, Failure


async def first_try(scene: Scene, student: Student) -> Try:
    """The student's answer; on record first, where it has to do without a playbook because none can reach it."""
    if not student.agent.abilities.injects:
        deaf = AgentError(
            f"{student.agent.name} takes the bare request only.", "Give its template a place for {playbook}."
        )
        await scene.record(Degraded(what="no playbook and no guidance for the student", failure=Failure.of(deaf)))
    return await student.answer(scene)
