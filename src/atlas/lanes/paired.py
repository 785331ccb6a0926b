"""The paired lane: the student answers, the teacher verifies, the student tries again under guidance."""

from __future__ import annotations

from atlas.lanes.base import Played
from atlas.lanes.opening import first_try
from atlas.lanes.verified import until_accepted
from atlas.roles import Scene, Student, Teacher


class PairedLane:
    """For tasks where the student is good but not yet trusted."""

    def __init__(self, student: Student, teacher: Teacher, *, retries: int) -> None:
        self._student = student
        self._teacher = teacher
        self._retries = retries

    async def play(self, scene: Scene) -> Played:
        """Attempts and reviews until the teacher accepts or the retries are spent."""
        first = await first_try(scene, self._student)
        last = await until_accepted(scene, self._student, self._teacher, first, retries=self._retries)
        return Played(answer=last.output, accepted=last.accepted)
