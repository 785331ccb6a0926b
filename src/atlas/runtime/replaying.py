"""A recorded session played again, offline, and held against its record."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.models import Recording
from atlas.runtime.loop import Loop, Opening
from atlas.runtime.trace import SessionTrace
from atlas.schema import Event, Noun, Session
from atlas.schema.errors import AtlasError, ConfigError
from atlas.schema.events import (
    Answered,
    Attempted,
    Degraded,
    MemoryRecalled,
    ModelCalled,
    Planned,
    Reviewed,
    Routed,
    SessionStarted,
    ToolCalled,
    Triaged,
)
from atlas.store import MemoryStore

_GIVEN = (SessionStarted, MemoryRecalled, Triaged, Routed)
"""What a replay takes as it was: the task, what memory showed, the lane."""
_COMPARED = (Planned, Attempted, Reviewed, Degraded, Answered)
"""What a replay has to come to again, byte for byte."""


class Replayed(Noun):
    """What a replay came to."""

    session_id: str
    """The recorded session."""
    model_calls: int
    """Requests whose bytes were the recorded ones, answered from the record."""
    tool_calls: int
    """Tool results taken from the record."""
    compared: int
    """Plans, attempts, reviews, degradations and answers that were compared."""
    differences: tuple[str, ...] = ()
    """What did not come out the same, one line each."""

    @property
    def identical(self) -> bool:
        """Whether all of it came out the same, byte for byte."""
        return not self.differences


async def replay(loop: Loop, events: Sequence[Event], session: Session) -> Replayed:
    """Play a finished session again from its record alone; nothing is stored and nobody is asked.

    Raises:
        ConfigError: the session was never routed, so there is nothing to replay.
    """
    given = [event for event in events if isinstance(event.body, _GIVEN)]
    if not any(isinstance(event.body, Routed) for event in given):
        raise ConfigError(f"Session {session.id} ended before it was routed.", "There is nothing to replay.")
    given = [event.model_copy(update={"seq": seq}) for seq, event in enumerate(given, 1)]
    store = MemoryStore()
    await store.append(given)
    trace = SessionTrace(session.id, store, lambda _: None, recorded=given)
    problem: tuple[str, ...] = ()
    try:
        await loop.play(Opening(task=session.task, trace=trace, journal=Recording(events)))
    except AtlasError as error:
        if session.status == "succeeded":
            problem = (f"the replay ended early: {error}",)
    before, after = _bodies(events), _bodies(trace.events)
    differences = [*problem, *(f"only in the record: {line}" for line in before if line not in after)]
    differences += [f"only in the replay: {line}" for line in after if line not in before]
    return Replayed(
        session_id=session.id,
        model_calls=sum(isinstance(event.body, ModelCalled) for event in events if _before_answer(event)),
        tool_calls=sum(isinstance(event.body, ToolCalled) for event in events),
        compared=len(before),
        differences=tuple(differences),
    )


def _bodies(events: Sequence[Event]) -> list[str]:
    """What is compared, as text; steps that ran in parallel may have been recorded in another order."""
    return sorted(repr(event.body) for event in events if isinstance(event.body, _COMPARED))


def _before_answer(event: Event) -> bool:
    return isinstance(event.body, ModelCalled) and event.body.purpose not in ("judge", "arbiter", "learn")
