"""An export from beginning to end: sessions out of the database, rows into a file."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from atlas.export.base import Format, Sink
from atlas.export.files import Kept, line_file
from atlas.export.lines import Jsonl
from atlas.export.parquet import Flat, parquet_file
from atlas.export.selection import Selection
from atlas.export.source import PAGE, Place, Reader, StoredSession
from atlas.export.training import Gkd, Grpo, Sft
from atlas.export.turns import Role
from atlas.schema import Noun
from atlas.schema.errors import ConfigError

log = logging.getLogger("atlas.export")

FormatName = Literal["jsonl", "parquet", "sft", "grpo", "gkd"]


class Order(Noun):
    """An export as somebody asks for it."""

    output: str
    """A file, compressed if it ends in .gz or .zst; `-` is standard output."""
    format: FormatName = "jsonl"
    """What the rows look like."""
    role: Role = "student"
    """Whose conversations, for `sft` and `grpo`."""
    selection: Selection = Selection()
    """Which sessions."""
    event_limit: int | None = Field(default=None, ge=0)
    """Events of a session at most, the newest ones; None takes all. For `jsonl`."""
    page: int = Field(default=PAGE, ge=1)
    """Sessions read at a time."""
    resume: bool = False
    """Whether to go on with the file that an earlier export left unfinished. For `jsonl`."""


class Exported(Noun):
    """What has been written so far."""

    sessions: int = 0
    """Sessions read."""
    rows: int = 0
    """Rows written."""
    left_out: int = 0
    """Sessions whose events are gone or do not tell a session."""
    resumed: bool = False
    """Whether an earlier export's lines were kept."""


async def export(reader: Reader, order: Order, *, progress: Callable[[Exported], None] = lambda told: None) -> Exported:
    """Write what the order selects; memory does not grow with the number of sessions.

    Raises:
        ConfigError: the file cannot be written, or a package for it is missing.
        StoreError: the database failed; with `resume` the export can be continued.
    """
    if order.resume and order.format != "jsonl":
        raise ConfigError(f"--resume cannot continue --format {order.format}.", "Leave --resume out.")
    shape = _format(order)
    with _sink(order) as (sink, kept):
        told = Exported(resumed=kept.lines > 0)
        async with aclosing(_groups(reader, order, shape, kept)) as groups:
            async for sessions in groups:
                told = _write(shape, sink, sessions, told)
                progress(told)
    return told


def _write(shape: Format, sink: Sink, sessions: list[StoredSession], told: Exported) -> Exported:
    usable = [session for session in sessions if session.events]
    rows = 0
    try:
        for row in shape.rows(usable):
            sink.write(row)
            rows += 1
    except (ValueError, LookupError, RecursionError) as error:
        log.warning("Session %s is left out: %s", usable[0].id, str(error).splitlines()[0])
        usable = []
    return told.model_copy(
        update={
            "sessions": told.sessions + len(usable),
            "rows": told.rows + rows,
            "left_out": told.left_out + len(sessions) - len(usable),
        }
    )


def _format(order: Order) -> Format:
    match order.format:
        case "jsonl":
            return Jsonl(order.event_limit)
        case "parquet":
            return Flat()
        case "sft":
            return Sft(order.role)
        case "grpo":
            return Grpo(order.role)
        case "gkd":
            return Gkd()


@contextmanager
def _sink(order: Order) -> Generator[tuple[Sink, Kept]]:
    if order.format == "parquet":
        with parquet_file(order.output) as table:
            yield table, Kept()
    else:
        with line_file(order.output, resume=order.resume) as lines:
            yield lines


async def _groups(reader: Reader, order: Order, shape: Format, kept: Kept) -> AsyncGenerator[list[StoredSession]]:
    """The sessions as the format wants them: one at a time, or all of one question; after those that are kept."""
    chosen = order.selection
    if shape.by_question:
        async with aclosing(reader.questions(chosen)) as questions:
            async for question in questions:
                newest_first = [session async for session in reader.sessions(question, page=order.page)]
                yield newest_first[::-1]
        return
    after = None
    if kept.lines:
        after = _place(kept.last)
        left = None if chosen.limit is None else max(chosen.limit - kept.lines, 0)
        chosen = chosen.model_copy(update={"limit": left})
    async with aclosing(reader.sessions(chosen, page=order.page, after=after)) as sessions:
        async for session in sessions:
            yield [session]


def _place(last: bytes) -> Place:
    """Where the last line of an unfinished file stands."""
    try:
        record: dict[str, Any] = json.loads(last)
        return Place(datetime.fromisoformat(record["created_at"]), uuid.UUID(record["session_id"]))
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError("The unfinished file holds no records.", "Leave --resume out.") from error
