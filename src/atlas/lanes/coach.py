"""The coach lane: a reviewed plan, verified steps (independent ones in parallel), then a synthesis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from atlas.lanes.base import Played
from atlas.lanes.paired import PairedLane
from atlas.lanes.verified import Verified, until_accepted
from atlas.roles import Scene, Student, Teacher
from atlas.schema import Plan, Review, Step
from atlas.schema.errors import AtlasError, BudgetError, ModelBadReply, ModelError
from atlas.schema.events import Degraded, Failure, Planned, Reviewed


class CoachLane:
    """For tasks where the student needs help on the way."""

    def __init__(self, student: Student, teacher: Teacher, *, retries: int, parallel_steps: int) -> None:
        self._student = student
        self._teacher = teacher
        self._retries = retries
        self._parallel_steps = parallel_steps
        self._paired = PairedLane(student, teacher, retries=retries)

    async def play(self, scene: Scene) -> Played:
        """Plan, review of the plan, steps, synthesis. Without a usable plan it goes on as the paired lane."""
        plan = await self._plan(scene)
        if plan is None:
            return await self._paired.play(scene)
        done = await self._steps(scene, plan)
        accepted = _all_accepted([last for _, last in done])
        if len(done) == 1:
            return Played(answer=done[0][1].output, accepted=accepted)
        answer = await self._student.synthesis(scene, [(step, last.output) for step, last in done])
        return Played(answer=answer, accepted=accepted)

    async def _plan(self, scene: Scene) -> Plan | None:
        if not self._student.agent.plans:
            reason = ModelBadReply(f"The agent {self._student.agent.name} cannot make plans.")
            await scene.record(Degraded(what="no plan; playing paired", failure=Failure.of(reason)))
            return None
        try:
            plan = await self._student.plan(scene)
            for attempt in range(1, self._retries + 2):
                await scene.record(Planned(plan=plan, attempt=attempt))
                review = await self._review(scene, plan, attempt)
                if review is None or review.accepted or review.guidance is None or attempt > self._retries:
                    break
                plan = await self._student.plan(scene, attempt=attempt + 1, last=plan, guidance=review.guidance)
        except ModelBadReply as error:
            await scene.record(Degraded(what="no usable plan; playing paired", failure=Failure.of(error)))
            return None
        return plan

    async def _review(self, scene: Scene, plan: Plan, attempt: int) -> Review | None:
        try:
            review = await self._teacher.review_plan(scene, plan, attempt=attempt)
        except (ModelError, BudgetError) as error:
            await scene.record(Degraded(what="the plan was not reviewed", failure=Failure.of(error)))
            return None
        await scene.record(Reviewed(review=review))
        return review

    async def _steps(self, scene: Scene, plan: Plan) -> list[tuple[Step, Verified]]:
        """Run every step as soon as the steps it depends on are done; results in the plan's order."""
        gate = asyncio.Semaphore(self._parallel_steps)
        running: dict[int, asyncio.Task[Verified]] = {}
        by_id = {step.id: step for step in plan.steps}

        async def one(step: Step) -> Verified:
            needed = [(by_id[wanted], await running[wanted]) for wanted in sorted(set(step.depends_on))]
            async with gate:
                return await self._step(scene, step, [(done, last.output) for done, last in needed])

        try:
            async with asyncio.TaskGroup() as group:
                for step in plan.steps:
                    running[step.id] = group.create_task(one(step))
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        return [(step, running[step.id].result()) for step in plan.steps]

    async def _step(self, scene: Scene, step: Step, results: Sequence[tuple[Step, str]]) -> Verified:
        first = await self._student.step(scene, step, results)
        return await until_accepted(scene, self._student, self._teacher, first, retries=self._retries, step=step)


def _all_accepted(steps: Sequence[Verified]) -> bool | None:
    words = [last.accepted for last in steps]
    if False in words:
        return False
    return None if None in words else True


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to report: a named one before anything else. A task group's failures are never nested."""
    return next((error for error in failures.exceptions if isinstance(error, AtlasError)), failures.exceptions[0])
