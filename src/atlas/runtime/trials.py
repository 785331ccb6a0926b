"""Stored tasks played again, with and without a lesson or with two versions of a playbook: the regression suite.

The suite of a key is its own stored tasks: it grows with every session, and each lesson is held against those that it
matches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from statistics import fmean

from atlas.evidence import SUCCESS
from atlas.memory import matches_task, outcome
from atlas.runtime.runtime import Runtime
from atlas.schema import Audience, Entry, Lane, Noun, Playbook, Recalled, Session
from atlas.schema.errors import AtlasError, StoreError
from atlas.store import Store

AT_ONCE = 4
"""Tasks that are played at the same time."""


class Trial(Noun):
    """One stored task done both ways."""

    session_id: str
    """The session in which it was done again."""
    replay_of: str
    """The session that the task comes from."""
    with_it: float
    """Reward in [0, 1] with the lesson, or with the newer version."""
    without_it: float
    """Reward without it, or with the older version."""


class Trials(Noun):
    """A suite done both ways."""

    trials: tuple[Trial, ...]
    """The tasks that could be done both ways."""
    failed: int
    """Tasks of which one way or the other gave no reward; they count for nothing."""

    @property
    def better(self) -> int:
        """Tasks that failed without it and succeed with it."""
        return sum(one.without_it < SUCCESS <= one.with_it for one in self.trials)

    @property
    def worse(self) -> int:
        """Tasks that succeeded without it and fail with it: the flips that a gate is about."""
        return sum(one.with_it < SUCCESS <= one.without_it for one in self.trials)

    @property
    def gain(self) -> float | None:
        """Mean gain in reward; None without a task."""
        return fmean(one.with_it - one.without_it for one in self.trials) if self.trials else None

    def verdict(self, *, min_tasks: int, max_worse: int) -> tuple[bool, str]:
        """Whether the flip gate is passed, and why: enough tasks, no more than so many flips to failure, and a gain."""
        counts = f"{len(self.trials)} tasks done both ways: {self.better} better, {self.worse} worse"
        if len(self.trials) < min_tasks:
            return False, f"{counts}; {min_tasks} tasks are needed"
        if self.worse > max_worse:
            return False, f"{counts}; at most {max_worse} may become worse"
        if (self.gain or 0.0) <= 0:
            return False, f"{counts}; no gain"
        return True, counts


async def suite(store: Store, tenant: str, key: str, *, limit: int, entry: Entry | None = None) -> list[Session]:
    """The newest stored sessions of a key, one of each task, that a lesson matches.

    Raises:
        StoreUnavailable: the database is away.
    """
    known = [row.id async for row in store.ledger(tenant, key) if row.replay_of is None]
    found: dict[str, Session] = {}
    for session_id in reversed(known):
        session = await store.session(session_id)
        if session is None or (entry is not None and not matches_task(entry.cue, session.task)):
            continue
        found.setdefault(session.task.identity, session)
        if len(found) >= limit:
            break
    return list(found.values())


async def try_entry(runtime: Runtime, playbook: Playbook, entry: Entry, sessions: Sequence[Session]) -> Trials:
    """Do each task with the lesson and without it, beside the lessons that act; what comes out is the entry's evidence.

    Raises:
        StoreError: a session could not be recorded.
    """

    def recalled(session: Session) -> tuple[Recalled, Recalled]:
        mine = Recalled(
            audience=entry.audience,
            version=playbook.version,
            shown=(*_beside(session, entry), entry),
            propensities=((entry.id, 1.0),),
            compared=entry.id,
        )
        return _both(session, mine)

    return await _tried(runtime, sessions, recalled, entry.audience)


def _beside(session: Session, entry: Entry) -> tuple[Entry, ...]:
    """What the session had seen of the same playbook, without the lesson itself."""
    memory = session.student_memory if entry.audience == "student" else session.teacher_memory
    return tuple(one for one in memory.shown if one.id != entry.id)


async def try_version(runtime: Runtime, playbook: Playbook, against: int, sessions: Sequence[Session]) -> Trials:
    """Do each task with the lessons of this version and with those of another; 0 is none at all.

    Raises:
        StoreError: a session could not be recorded.
    """

    def recalled(session: Session) -> tuple[Recalled, Recalled]:
        seen = runtime.preview(session.task, playbook).model_copy(update={"against": against})
        return _both(session, seen)

    return await _tried(runtime, sessions, recalled, playbook.audience)


def _both(session: Session, mine: Recalled) -> tuple[Recalled, Recalled]:
    """What the two readers see: these lessons, and what the other had seen."""
    if mine.audience == "student":
        return mine, session.teacher_memory.model_copy(update={"propensities": (), "compared": None})
    return session.student_memory.model_copy(update={"propensities": (), "compared": None}), mine


async def _tried(
    runtime: Runtime,
    sessions: Sequence[Session],
    recalled: Callable[[Session], tuple[Recalled, Recalled]],
    audience: Audience,
) -> Trials:
    doors = asyncio.Semaphore(AT_ONCE)

    async def one(session: Session) -> Trial | None:
        async with doors:
            running = await runtime.retry(session, recalled(session), lane=_lane(session, audience))
            try:
                return _trial(await running.settled(), audience)
            except StoreError:
                raise
            except AtlasError:
                return None  # The session itself says why it failed.

    found = await asyncio.gather(*map(one, sessions))
    done = tuple(trial for trial in found if trial is not None)
    return Trials(trials=done, failed=len(found) - len(done))


def _lane(session: Session, audience: Audience) -> Lane:
    """A student's lesson is measured on a first try alone, a teacher's where the teacher has a say."""
    supervised = session.route is not None and session.route.lane != "auto"
    if audience == "student":
        return "auto"
    return session.route.lane if session.route is not None and supervised else "paired"


def _trial(session: Session, audience: Audience) -> Trial | None:
    """What came out; None where one way gave no reward."""
    value = outcome(session, audience)
    if session.compared is None or value is None:
        return None
    source = str(session.metadata["replay_of"])
    return Trial(session_id=session.id, replay_of=source, with_it=value, without_it=session.compared.outcome)
