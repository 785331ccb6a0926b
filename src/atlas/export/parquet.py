"""Sessions as a Parquet table: one row each, what is filtered by in columns of its own, the whole record as JSON."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from atlas.export.assemble import record_of
from atlas.export.base import Row
from atlas.export.files import STDOUT, finished_file
from atlas.export.lines import line_of
from atlas.export.record import SessionRecord
from atlas.export.source import StoredSession
from atlas.schema import Lane, Noun, Status, Usage
from atlas.schema.errors import ConfigError
from atlas.store import ReviewStatus

GROUP = 1000
"""Rows of one row group; what is held in memory at a time."""


class FlatRow(Noun):
    """One session as a row of a table."""

    session_id: str
    """UUID version 7."""
    task: str
    """What was asked."""
    final_answer: str
    """The answer; empty where there is none."""
    status: Status
    """Its state."""
    review_status: ReviewStatus
    """What a reviewer decided."""
    learning_key: str
    """Its group."""
    tenant: str
    """Its owner."""
    lane: Lane | None
    """Its lane."""
    reward: float | None
    """Its reward in [0, 1]."""
    uncertainty: float | None
    """The reward's uncertainty."""
    accepted: bool | None
    """The teacher's word on the answer."""
    prompt_tokens: int
    """Tokens read, all roles together."""
    completion_tokens: int
    """Tokens written."""
    cost_usd: float | None
    """Money in US dollars; null when no price is known."""
    created_at: datetime
    """When it started (UTC)."""
    completed_at: datetime | None
    """When it ended (UTC)."""
    record: str
    """The whole record: a line of the JSONL export."""


class Flat:
    """A session as one flat row."""

    by_question = False

    def rows(self, sessions: Sequence[StoredSession]) -> Iterator[FlatRow]:
        """See `Format.rows`."""
        for stored in sessions:
            record = record_of(stored)
            yield _flat(record, line_of(record, stored))


class ParquetSink:
    """Collects rows and writes them in groups."""

    def __init__(self, arrow: Any, writer: Any) -> None:
        """`arrow` is the module pyarrow, `writer` its ParquetWriter."""
        self._arrow = arrow
        self._writer = writer
        self._rows: list[dict[str, Any]] = []

    def write(self, row: Row) -> None:
        """One row more; other rows than flat ones have no columns."""
        if isinstance(row, FlatRow):
            self._rows.append({name: _storable(value) for name, value in row.__dict__.items()})
        if len(self._rows) >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows = []


@contextmanager
def parquet_file(name: str) -> Generator[ParquetSink]:
    """A sink for a Parquet file that gets its name when it is complete.

    Raises:
        ConfigError: pyarrow is not installed, or the file cannot be written.
    """
    if name == STDOUT:
        raise ConfigError("A Parquet table cannot be written to standard output.", "Give --output FILE.")
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError(
            "--format parquet needs the package pyarrow.", "Install it: pip install 'atlas-loop[parquet]'."
        ) from None
    with finished_file(Path(name)) as part, parquet.ParquetWriter(part, _schema(arrow), compression="zstd") as writer:
        sink = ParquetSink(arrow, writer)
        yield sink
        sink.flush()


def _schema(arrow: Any) -> Any:
    text, number, moment = arrow.string(), arrow.float64(), arrow.timestamp("us", tz="UTC")
    kinds = {
        "reward": number,
        "uncertainty": number,
        "cost_usd": number,
        "accepted": arrow.bool_(),
        "prompt_tokens": arrow.int64(),
        "completion_tokens": arrow.int64(),
        "created_at": moment,
        "completed_at": moment,
        "record": arrow.large_string(),
    }
    return arrow.schema([(name, kinds.get(name, text)) for name in FlatRow.model_fields])


def _storable(value: Any) -> Any:
    """A text that UTF-8 cannot carry keeps its lone surrogates as escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _flat(record: SessionRecord, line: str) -> FlatRow:
    used = sum((role.usage for role in record.usage), Usage())
    return FlatRow(
        session_id=record.session_id,
        task=record.task,
        final_answer=record.final_answer,
        status=record.status,
        review_status=record.review_status,
        learning_key=record.learning_key,
        tenant=record.tenant,
        lane=record.lane,
        reward=record.reward,
        uncertainty=record.session_reward.uncertainty if record.session_reward else None,
        accepted=record.accepted,
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        cost_usd=used.cost_usd,
        created_at=record.created_at,
        completed_at=record.completed_at,
        record=line,
    )
