"""The memory of a student that no playbook can reach."""

from __future__ import annotations

from atlas.memory import Memory
from atlas.models import Caller
from atlas.schema import Background, Playbook, Recalled, Session, Task


class Unheard:
    """Nothing is shown to the student, so that no lesson is credited with what it did; all else is the memory's."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def recall(self, task: Task, background: Background, session_id: str) -> tuple[Recalled, Recalled]:
        """Nothing for the student, the teacher's as ever."""
        _, teacher = self._memory.recall(task, background, session_id)
        return Recalled(audience="student", version=background.student.version), teacher

    def preview(self, task: Task, playbook: Playbook) -> Recalled:
        """Nothing for the student, the teacher's as ever."""
        if playbook.audience == "student":
            return Recalled(audience="student", version=playbook.version)
        return self._memory.preview(task, playbook)

    async def learn(self, session: Session, background: Background, caller: Caller) -> tuple[Playbook, ...]:
        """As the memory learns."""
        return await self._memory.learn(session, background, caller)

    def harm(self, playbook: Playbook) -> str | None:
        """As the memory finds."""
        return self._memory.harm(playbook)
