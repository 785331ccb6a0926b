"""Attempt, review, guidance, attempt again: what the paired lane does with an answer and the coach lane with a step."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.roles import Scene, Student, Teacher, Try
from atlas.schema import Review, Step
from atlas.schema.errors import AgentError, BudgetError, ModelError
from atlas.schema.events import Attempted, Degraded, Failure, Reviewed


@dataclass(frozen=True, slots=True)
class Verified:
    """The last attempt and what the teacher said of it."""

    output: str
    """The student's words."""
    accepted: bool | None
    """None when the teacher could not be asked."""


async def until_accepted(
    scene: Scene, student: Student, teacher: Teacher, first: Try, *, retries: int, step: Step | None = None
) -> Verified:
    """Review the first try; while it is not accepted, guide and try again, at most `retries` times.

    Every attempt is reviewed. A teacher that fails ends the reviewing, not the session; a retry that fails leaves the
    attempt before it, not accepted.
    """
    tried = first
    await scene.record(Attempted(attempt=tried.attempt))
    while True:
        review = await _review(scene, teacher, tried, step)
        if review is None or review.accepted or review.guidance is None or tried.attempt.number > retries:
            return Verified(output=tried.attempt.output, accepted=review.accepted if review else None)
        if not student.agent.abilities.injects:
            deaf = AgentError(f"{student.agent.name} takes no guidance.", "Give its template a place for {guidance}.")
            await scene.record(Degraded(what="no retry; the attempt stands, not accepted", failure=Failure.of(deaf)))
            return Verified(output=tried.attempt.output, accepted=False)
        try:
            tried = await student.again(scene, tried, review.guidance)
        except (AgentError, ModelError, BudgetError) as error:
            await scene.record(
                Degraded(what="the retry failed; the attempt before it stands", failure=Failure.of(error))
            )
            return Verified(output=tried.attempt.output, accepted=False)
        await scene.record(Attempted(attempt=tried.attempt))


async def _review(scene: Scene, teacher: Teacher, tried: Try, step: Step | None) -> Review | None:
    try:
        review = await teacher.verify(scene, tried.attempt, step)
    except (ModelError, BudgetError) as error:
        await scene.record(
            Degraded(what="the teacher could not review; the attempt stands unreviewed", failure=Failure.of(error))
        )
        return None
    await scene.record(Reviewed(review=review))
    return review
