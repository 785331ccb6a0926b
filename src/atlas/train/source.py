"""Where training reads: a live database or an exported file. Both give the same sessions, so the same examples."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Literal

from pydantic import Field

from atlas.config.llm import Block
from atlas.export import Role, Selection, StoredSession, open_reader, read_sessions, record_of, reviews_allowed
from atlas.export.bodies import SessionBodies
from atlas.schema import Noun, Task
from atlas.schema.errors import ConfigError, TrainError
from atlas.store import ReviewStatus
from atlas.train.examples import Example, Take, examples_of

URLS = ("postgresql://", "postgres://", "atlas://")
"""Beginnings of a source that is a database; anything else is a file, or a project's folder."""


class DataConfig(Block):
    """Which sessions are learnt from, and how they are split."""

    reviews: tuple[ReviewStatus, ...] | None = None
    """Review states that pass; approved ones unless given (or the environment says otherwise, as for exports)."""
    learning_key: str | None = None
    """Only this key."""
    tenant: str | None = None
    """Only this owner."""
    min_reward: float | None = Field(default=None, ge=0, le=1)
    """Smallest reward of a session."""
    min_value: float | None = Field(default=None, ge=0, le=1)
    """Smallest value of an example: a try's own reward, or what a teacher's word led to."""
    limit: int | None = Field(default=None, ge=1)
    """The newest so many sessions."""
    max_examples: int | None = Field(default=None, ge=1)
    """Examples at most, after everything else."""
    purposes: tuple[str, ...] = ()
    """Only these purposes (answer, plan, step, synthesis, verify, plan_review, judge); empty takes any."""
    max_share: float = Field(default=1.0, gt=0, le=1)
    """Largest share of the examples that one learning key may have."""
    deduplicate: bool = True
    """Whether of equal examples only the first is kept."""
    eval_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the sessions that are kept for evaluation; sessions of one question stay together."""
    gold_keys: tuple[str, ...] = ("answer", "expected", "gold", "solution", "reference")
    """Keys of a task's payload that hold the expected answer: its text must not be in a prompt."""
    leaks: Literal["drop", "stop"] = "drop"
    """What becomes of an example whose prompt holds the expected answer."""


class Read(Noun):
    """What came out of a source."""

    examples: tuple[Example, ...]
    """In the order of their sessions, oldest first."""
    tasks: dict[str, Task]
    """The task of each session that has a reward, by session."""
    sessions: int
    """Sessions that passed the filters."""
    unusable: int
    """Of these, those without events or reward."""


async def read_examples(where: str | Path, data: DataConfig, *, role: Role, take: Take) -> Read:
    """The examples of one role in a source: `postgresql://…`, `atlas://FOLDER`, a project's folder, or a JSONL file.

    Raises:
        ConfigError: there is no such file or folder, or a filter is wrong.
        StoreError: the database cannot be read.
        TrainError: a line of the file is no record.
    """
    selection = _selection(data)
    examples: list[list[Example]] = []
    tasks: dict[str, Task] = {}
    sessions = unusable = 0
    async with aclosing(_sessions(where, selection)) as found:
        async for stored in found:
            sessions += 1
            taken = list(examples_of(stored, role, take=take)) if stored.events else []
            unusable += not taken
            examples.append(taken)
            if taken:
                tasks[stored.id] = task_of(stored)
    ordered = tuple(example for taken in reversed(examples) for example in taken)
    return Read(examples=ordered, tasks=dict(reversed(tasks.items())), sessions=sessions, unusable=unusable)


def _selection(data: DataConfig) -> Selection:
    reviews = data.reviews if data.reviews is not None else reviews_allowed(None, os.environ)
    return Selection(
        reviews=reviews,
        learning_key=data.learning_key,
        tenant=data.tenant,
        min_reward=data.min_reward,
        limit=data.limit,
    )


async def _sessions(where: str | Path, selection: Selection) -> AsyncGenerator[StoredSession]:
    """Newest first, whatever the source."""
    text = str(where)
    place = _database(text)
    if place is not None:
        async with open_reader(place) as reader, aclosing(reader.sessions(selection)) as found:
            async for stored in found:
                yield stored
        return
    try:
        kept = [stored for stored in read_sessions(text) if _passes(stored, selection)]
    except ValueError as error:
        raise TrainError(str(error), "Export the file again with `atlas export`.") from error
    kept.sort(key=lambda stored: (stored.created_at, stored.id), reverse=True)
    for stored in kept[: selection.limit]:
        yield stored


def _database(text: str) -> str | Path | None:
    """The database that is meant; None for a file."""
    if text.startswith(URLS):
        return text
    return Path(text) if Path(text).is_dir() else None


def _passes(stored: StoredSession, selection: Selection) -> bool:
    """What the database checks, for a file: the same filters on the same fields."""
    if selection.reviews is not None and stored.review_status not in selection.reviews:
        return False
    wanted = (selection.learning_key, selection.tenant, selection.min_reward)
    if wanted == (None, None, None):
        return True
    record, least = record_of(stored), selection.min_reward
    return (
        selection.learning_key in (None, record.learning_key)
        and selection.tenant in (None, record.tenant)
        and (least is None or (record.reward is not None and record.reward >= least))
    )


def task_of(stored: StoredSession) -> Task:
    """What was asked, payload included.

    Raises:
        ValueError: the first event is not `session_started`.
    """
    started = SessionBodies(stored.payloads).body(stored.events[0].seq)
    if started.type != "session_started":
        raise ValueError(f"session {stored.id} does not begin with its task")
    return started.task


def need_examples(read: Read, where: str | Path) -> None:
    """Refuse an empty source, and say why it is empty.

    Raises:
        ConfigError: it holds nothing to learn from.
    """
    if read.examples:
        return
    if not read.sessions:
        cause = f"No session in {where} passes the filters."
        remedy = "Approve some (`arc-atlas review approve ID`), or set ATLAS_REVIEW_REQUIRE_APPROVAL=0 for local work."
    else:
        cause = f"None of the {read.sessions} sessions in {where} has a rewarded example of this role."
        remedy = "Configure a check or a judge, and train a role that took part."
    raise ConfigError(cause, remedy)
