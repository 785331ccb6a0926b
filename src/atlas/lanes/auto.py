"""The auto lane: one student answer, nothing else before it."""

from __future__ import annotations

from atlas.lanes.base import Played
from atlas.lanes.opening import first_try
from atlas.roles import Scene, Student
from atlas.schema.events import Attempted


class AutoLane:
    """For tasks the student is known to solve alone."""

    def __init__(self, student: Student) -> None:
        self._student = student

    async def play(self, scene: Scene) -> Played:
        """One attempt."""
        tried = await first_try(scene, self._student)
        await scene.record(Attempted(attempt=tried.attempt))
        return Played(answer=tried.attempt.output)
