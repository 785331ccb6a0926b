"""What a role knows of the session it acts in."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.models import Caller, OnText
from atlas.schema import Body, Event, Recalled, Task


@dataclass(frozen=True, slots=True)
class Scene:
    """A running session as student, teacher and lanes see it."""

    task: Task
    """What is asked."""
    student_memory: Recalled
    """Playbook entries for the student."""
    teacher_memory: Recalled
    """Playbook entries for the teacher."""
    caller: Caller
    """The door to models and tools; it also holds the trace."""
    on_text: OnText | None = None
    """Receives the student's words while they stream."""
    bound: bool = False
    """Whether the lane was forced: then nothing that is seen on the way changes it."""

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.caller.trace.session_id

    async def record(self, body: Body) -> Event:
        """Append one event; durable on return."""
        return await self.caller.trace.record(body)
