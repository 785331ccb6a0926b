"""Memory for `learning.enabled: false`."""

from __future__ import annotations

from atlas.models import Caller
from atlas.schema import Background, Playbook, Recalled, Session, Task


class NoMemory:
    """Recalls nothing and learns nothing."""

    def recall(self, task: Task, background: Background, session_id: str) -> tuple[Recalled, Recalled]:
        """Nothing, of the versions there are."""
        student, teacher = background.student.version, background.teacher.version
        return Recalled(audience="student", version=student), Recalled(audience="teacher", version=teacher)

    def preview(self, task: Task, playbook: Playbook) -> Recalled:
        """Nothing."""
        return Recalled(audience=playbook.audience, version=playbook.version)

    async def learn(self, session: Session, background: Background, caller: Caller) -> tuple[Playbook, ...]:
        """Nothing."""
        return ()

    def harm(self, playbook: Playbook) -> str | None:
        """Nothing is learnt, so nothing is withdrawn."""
        return None
