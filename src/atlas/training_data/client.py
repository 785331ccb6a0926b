"""The documented functions: filters and parts by keyword, sync and async."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast
from uuid import UUID

from pydantic import ValidationError
from typing_extensions import Unpack

from atlas.export import Selection, SessionRecord, StoredSession, open_reader, record_of, reviews_allowed
from atlas.schema.errors import ConfigError

T = TypeVar("T")
Where = str | Path
"""`postgresql://…`, or a project's own database: the path of its `.atlas` folder, also as `atlas://PATH`."""
PAGE = 500
"""Sessions that are read at a time."""


class Filters(TypedDict, total=False):
    """What a session must fulfil; all of it."""

    min_reward: float | None
    """Smallest reward in [0, 1]; a session without a reward does not pass."""
    max_reward: float | None
    """Largest reward in [0, 1]; a session without a reward does not pass."""
    created_after: datetime | None
    """Started then or later; without a time zone it is UTC."""
    start_date: datetime | None
    """The same; the later of the two counts."""
    end_date: datetime | None
    """Started then or earlier."""
    learning_key: str | None
    """Only this key."""
    status_filters: Sequence[str] | None
    """States: running, succeeded, failed, cancelled, interrupted; None takes any."""
    review_status_filters: Sequence[str] | None
    """Review states: approved, pending, quarantined. None takes approved ones, and pending ones as well while
    `ATLAS_REVIEW_REQUIRE_APPROVAL` is 0."""


class Parts(TypedDict, total=False):
    """What of a session is loaded."""

    include_trajectory_events: bool
    """Everything that happened, in order; True unless given. Without it much less is read."""
    include_learning_data: bool
    """Reward, learning notes and history, lane decision; True unless given."""


class Query(Filters, Parts, total=False):
    """Filters, parts, and which of the sessions that pass, newest first."""

    limit: int | None
    """Sessions at most; 1,000 unless given, None takes all."""
    offset: int
    """Sessions that are left out first."""


class Stream(Filters, Parts, total=False):
    """Filters and parts of a reading in batches."""

    limit: int | None
    """Sessions at most, all batches together; None takes all."""


TOGETHER = 50
"""Records made at a time."""
LEARNING = ("session_reward", "student_learning", "teacher_learning", "learning_history", "adaptive_summary")
"""Fields of a record that `include_learning_data` is about."""
LIMIT = 1000
"""Sessions that one call returns when it is not told."""


async def get_training_sessions_async(db_url: Where, **query: Unpack[Query]) -> list[SessionRecord]:
    """The sessions that pass, newest first.

    Raises:
        ConfigError: a filter is not understood, or there is no such database folder.
        StoreError: the database cannot be read.
    """
    selection = _selection(query, query.get("limit", LIMIT), query.get("offset", 0))
    events = query.get("include_trajectory_events", True)
    async with open_reader(db_url) as reader, aclosing(reader.sessions(selection, events=events, page=PAGE)) as found:
        return [record async for batch in _batches(found, query, TOGETHER) for record in batch]


def get_training_sessions(db_url: Where, **query: Unpack[Query]) -> list[SessionRecord]:
    """As `get_training_sessions_async`, for code without an event loop; inside one it works too, and blocks it."""
    return _now(get_training_sessions_async(db_url, **query))


async def count_training_sessions_async(db_url: Where, **filters: Unpack[Filters]) -> int:
    """How many sessions pass.

    Raises:
        ConfigError: a filter is not understood.
        StoreError: the database cannot be read.
    """
    async with open_reader(db_url) as reader:
        return await reader.count(_selection(filters, None, 0))


def count_training_sessions(db_url: Where, **filters: Unpack[Filters]) -> int:
    """As `count_training_sessions_async`, for code without an event loop."""
    return _now(count_training_sessions_async(db_url, **filters))


async def get_session_by_id_async(
    db_url: Where, session_id: int | str | UUID, **parts: Unpack[Parts]
) -> SessionRecord | None:
    """One session, whatever its review status; None where there is none.

    `session_id` is its UUID, a unique beginning of it, or its number in the table `sessions`.

    Raises:
        ConfigError: it is no session id.
        StoreError: several sessions begin so, or the database cannot be read.
    """
    selection = Selection(ids=(str(session_id),), reviews=None)
    events = parts.get("include_trajectory_events", True)
    async with open_reader(db_url) as reader, aclosing(reader.sessions(selection, events=events)) as found:
        records = [record async for batch in _batches(found, parts, 1) for record in batch]
    return records[0] if records else None


def get_session_by_id(db_url: Where, session_id: int | str | UUID, **parts: Unpack[Parts]) -> SessionRecord | None:
    """As `get_session_by_id_async`, for code without an event loop."""
    return _now(get_session_by_id_async(db_url, session_id, **parts))


async def paginate_sessions(
    db_url: Where, *, batch_size: int = 100, **query: Unpack[Stream]
) -> AsyncGenerator[list[SessionRecord]]:
    """The sessions that pass, newest first, in batches; memory holds one, and a late one costs what an early one does.

    Raises:
        ConfigError: a filter is not understood.
        StoreError: the database cannot be read.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}.", "Give 1 or more.")
    selection = _selection(query, query.get("limit"), 0)
    events = query.get("include_trajectory_events", True)
    async with (
        open_reader(db_url) as reader,
        aclosing(reader.sessions(selection, events=events, page=batch_size)) as found,
    ):
        async for batch in _batches(found, query, batch_size):
            yield batch


def _selection(filters: Filters, limit: int | None, offset: int) -> Selection:
    starts = [_in_utc(start) for start in (filters.get("created_after"), filters.get("start_date")) if start]
    wanted = filters.get("review_status_filters")
    try:
        return Selection.model_validate(
            {
                "statuses": tuple(filters.get("status_filters") or ()),
                "reviews": tuple(wanted) if wanted else reviews_allowed(None, os.environ),
                "learning_key": filters.get("learning_key"),
                "min_reward": filters.get("min_reward"),
                "max_reward": filters.get("max_reward"),
                "created_from": max(starts, default=None),
                "created_until": filters.get("end_date"),
                "limit": limit,
                "offset": offset,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {first['msg']} ({first['input']!r}).", "See its description.") from error


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _batches(
    found: AsyncIterator[StoredSession], parts: Filters | Parts, size: int
) -> AsyncGenerator[list[SessionRecord]]:
    """Records, `size` at a time. A session whose events retention has removed has none."""
    waiting: list[StoredSession] = []
    async for stored in found:
        if stored.events:
            waiting.append(stored)
        if len(waiting) == size:
            yield _records(waiting, parts)
            waiting = []
    if waiting:
        yield _records(waiting, parts)


def _records(sessions: Sequence[StoredSession], parts: Filters | Parts) -> list[SessionRecord]:
    """Many records make many objects and no garbage: looking for garbage meanwhile would cost more than making them."""
    asked = cast("Query", parts)
    events, learning = asked.get("include_trajectory_events", True), asked.get("include_learning_data", True)
    collecting = gc.isenabled()
    gc.disable()
    try:
        records = [record_of(stored, events=events) for stored in sessions]
    finally:
        if collecting:
            gc.enable()
    return records if learning else [record.model_copy(update=dict.fromkeys(LEARNING)) for record in records]


def _now(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine; where this thread has an event loop already, from a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1, thread_name_prefix="atlas-training-data") as elsewhere:
        return elsewhere.submit(asyncio.run, work).result()
