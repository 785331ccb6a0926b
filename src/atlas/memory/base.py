"""The socket of memory."""

from __future__ import annotations

from typing import Protocol

from atlas.models import Caller
from atlas.schema import Background, Playbook, Recalled, Session, Task


class Memory(Protocol):
    """Recalls what helps and learns from what happened."""

    def recall(self, task: Task, background: Background, session_id: str) -> tuple[Recalled, Recalled]:
        """What the student and the teacher of this session see: few, matching, within a token budget."""
        ...

    def preview(self, task: Task, playbook: Playbook) -> Recalled:
        """What a session with this task would see of this version if chance withheld nothing."""
        ...

    async def learn(self, session: Session, background: Background, caller: Caller) -> tuple[Playbook, ...]:
        """New playbook versions after a judged session; empty when nothing changed.

        Pure but for the curator's model call, which the caller's journal answers when this is called again after a
        lost compare-and-swap with a fresher background. A curator that fails is recorded, not raised: what the session
        says about known entries is learnt all the same.

        Raises:
            StoreError: the failure could not be recorded.
        """
        ...

    def harm(self, playbook: Playbook) -> str | None:
        """Why the lessons of this version must be withdrawn together; None while they need not be."""
        ...
