"""A stream of tasks, each played twice: by the loop that learns, and by the student alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from atlas.runtime import Runtime
from atlas.schema import Lane, Noun, RoleUsage, Session, Task
from atlas.schema.errors import AtlasError

BeforeTask = Callable[[int], Awaitable[None]]
"""Called with the index of the task that is about to be played."""


class Point(Noun):
    """One task of the stream, played twice."""

    index: int
    """Its place in the stream, from 0."""
    session_id: str
    """The loop's session."""
    learning_key: str
    """The task's group."""
    loop: float
    """Reward with the loop; a session without an answer counts 0."""
    first_try: float
    """1 where the agent's first attempt in the loop stood, with its lessons and before any help; else 0."""
    alone: float
    """Reward of the student alone on the same task; a session without an answer counts 0."""
    lane: Lane
    """The lane the loop chose."""
    attempts: int
    """Tries of the student in the loop."""
    usage: tuple[RoleUsage, ...]
    """The loop's tokens by role, learning included."""
    alone_tokens: int
    """The student's tokens on its own."""
    shown: tuple[str, ...] = ()
    """Ids of the playbook entries the student saw."""
    held_out: tuple[str, ...] = ()
    """Ids of the matching entries that were withheld as control."""

    @property
    def tokens(self) -> int:
        """The loop's tokens, all roles together."""
        return sum(role.usage.tokens for role in self.usage)


async def play_stream(
    tasks: Sequence[Task], loop: Runtime, alone: Runtime, *, before: BeforeTask | None = None
) -> AsyncIterator[Point]:
    """Play each task in both runtimes, in order; the loop has judged and learnt before the next task comes.

    Raises:
        AtlasError: a session has no reward: without a check there is nothing to compare.
    """
    for index, task in enumerate(tasks):
        if before is not None:
            await before(index)
        control = await settled(alone, task, lane="auto")
        session = await settled(loop, task)
        yield _point(index, session, control)


async def settled(runtime: Runtime, task: Task, *, lane: Lane | None = None) -> Session:
    """One session to its very end; a failed one is a session too."""
    running = await runtime.start(task, lane=lane)
    try:
        return await running.settled()
    except AtlasError:
        session = await runtime.store.session(running.session_id)
        if session is None:
            raise
        return session


def _point(index: int, session: Session, control: Session) -> Point:
    return Point(
        index=index,
        session_id=session.id,
        learning_key=session.task.learning_key,
        loop=_success(session),
        first_try=float(session.status == "succeeded" and session.first_try is True),
        alone=_success(control),
        lane=session.route.lane if session.route else "auto",
        attempts=len(session.attempts),
        usage=session.usage,
        alone_tokens=control.total_usage.tokens,
        shown=tuple(entry.id for entry in session.student_memory.shown),
        held_out=session.student_memory.held_out,
    )


def _success(session: Session) -> float:
    if session.status != "succeeded":
        return 0.0
    if session.reward is None or session.reward.value is None:
        raise AtlasError(f"Session {session.id} has no reward.", "A stream needs a check that can judge every task.")
    return session.reward.value
