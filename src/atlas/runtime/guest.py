"""A session whose student acts elsewhere: what it does is recorded, judged and learnt from; nothing is played here."""

from __future__ import annotations

from atlas.roles import Scene
from atlas.runtime.loop import Loop, Opening
from atlas.runtime.trace import SessionTrace
from atlas.schema import Failure, Route, Session, Status
from atlas.schema.events import Answered, Finished

ELSEWHERE = {"student": "elsewhere"}
"""Label of such a session: nobody here can resume it, replay it or run it again."""


class Guest:
    """A handle on it. Whoever sees the student's work records it on `scene`, then finishes and settles the session."""

    def __init__(self, loop: Loop, opening: Opening, scene: Scene, route: Route) -> None:
        self.scene = scene
        """What student and teacher may know."""
        self.route = route
        """The lane that fits the task."""
        self._loop = loop
        self._opening = opening

    @property
    def trace(self) -> SessionTrace:
        """Its record."""
        return self._opening.trace

    async def finish(
        self,
        status: Status,
        *,
        answer: str | None = None,
        accepted: bool | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Record the answer, where there is one, and the final state."""
        if answer is not None:
            await self.trace.record(Answered(answer=answer, accepted=accepted))
        await self.trace.record(Finished(status=status, failure=failure))

    async def settle(self) -> Session:
        """Judge the answered session and learn from it.

        Raises:
            StoreError: the record could not be written.
        """
        return await self._loop.settle(self._opening.task, self.trace, self._opening.journal)
