"""The auto lane: one student answer, nothing else before it, unless a look at the answer calls the teacher."""

from __future__ import annotations

from collections.abc import Callable

from atlas.lanes.base import Played
from atlas.lanes.opening import first_try
from atlas.lanes.verified import until_accepted
from atlas.roles import Scene, Student, Teacher
from atlas.schema import Attempt, Route, Task
from atlas.schema.events import Attempted, Routed

SecondLook = Callable[[Task, Attempt], Route | None]
"""Reads a first attempt without a model; a route means that it is to be supervised after all."""


class AutoLane:
    """For tasks the student is known to solve alone."""

    def __init__(
        self, student: Student, teacher: Teacher | None = None, *, look: SecondLook | None = None, retries: int = 1
    ) -> None:
        """`look` needs a teacher, who then verifies the attempt with at most `retries` tries after it."""
        self._student = student
        self._teacher = teacher
        self._look = look
        self._retries = retries

    async def play(self, scene: Scene) -> Played:
        """One attempt; it goes on as in the paired lane where a look at it calls for that."""
        tried = await first_try(scene, self._student)
        route = self._look(scene.task, tried.attempt) if self._look and not scene.bound else None
        if route is None or self._teacher is None:
            await scene.record(Attempted(attempt=tried.attempt))
            return Played(answer=tried.attempt.output)
        await scene.record(Routed(route=route))
        last = await until_accepted(scene, self._student, self._teacher, tried, retries=self._retries)
        return Played(answer=last.output, accepted=last.accepted)
