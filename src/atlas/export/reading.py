"""Lines of an export, read back."""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from atlas.export.assemble import record_of
from atlas.export.bodies import SessionBodies
from atlas.export.files import reading
from atlas.export.record import RECORD_VERSION, RecordedEvent, SessionRecord
from atlas.export.references import check_references
from atlas.export.source import StoredEvent, StoredSession
from atlas.schema import Body, Event, Session, rebuild


class Refused(Exception):
    """A line that is no record."""


class Line(NamedTuple):
    """A line that is a record."""

    uid: uuid.UUID
    """The session."""
    stored: StoredSession
    """What a database would hold of it."""

    def bodies(self) -> list[Body]:
        """What happened, in order."""
        bodies = SessionBodies(self.stored.payloads)
        return [bodies.body(event.seq) for event in self.stored.events]

    def session(self, bodies: Sequence[Body]) -> Session:
        """The session that these bodies, or cleaned ones in their place, tell."""
        return rebuild(
            Event.model_construct(session_id=self.stored.id, seq=event.seq, at=event.at, body=body)
            for event, body in zip(self.stored.events, bodies, strict=True)
        )


def read_records(path: str | Path) -> Iterator[SessionRecord]:
    """The records of a JSONL export, compressed or not, with what happened, every reference resolved.

    Raises:
        ConfigError: the file cannot be read.
        ValueError: a line is no record; the message has its number.
    """
    for stored in read_sessions(path):
        yield record_of(stored, events=True)


def read_sessions(path: str | Path) -> Iterator[StoredSession]:
    """The sessions of a JSONL export as a database would hold them.

    Raises:
        ConfigError: the file cannot be read.
        ValueError: a line is no record; the message has its number.
    """
    for number, text in numbered(str(path)):
        try:
            line = parsed(text)
        except Refused as refused:
            raise ValueError(f"Line {number} of {path} is refused: {refused}.") from refused
        yield line.stored


def numbered(name: str) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file with their numbers, from 1; None for where it is damaged. Empty lines are left out."""
    number = 0
    with reading(name) as stream:
        try:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield number + 1, None


def parsed(line: bytes | None) -> Line:
    """A line as a record.

    Raises:
        Refused: it is none; says why.
    """
    if line is None:
        raise Refused("the file is damaged from here on")
    try:
        tree: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(f"it is no JSON ({error})") from error
    if not isinstance(tree, dict):
        raise Refused("it is no JSON object")
    version = cast("dict[str, Any]", tree).get("record_version")
    if version != RECORD_VERSION:
        raise Refused("it is no record of Atlas" if version is None else f"record_version {version!r} is not known")
    try:
        record = SessionRecord.model_validate(tree)
        uid = uuid.UUID(record.session_id)
        return _line(uid, record)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(_reason(error)) from error


def _line(uid: uuid.UUID, record: SessionRecord) -> Line:
    events = record.trajectory_events or ()
    if not events or record.events_left_out or [event.id for event in events] != list(range(1, len(events) + 1)):
        raise ValueError("it does not hold all events of its session")
    check_references({event.id: event.event for event in events})
    payloads = {event.id: _payload(event) for event in events}
    bodies = SessionBodies(payloads)
    columns = [_columns(event, bodies.tree(event.id)) for event in events]
    drift = json.dumps(record.drift) if isinstance(record.drift, dict) else None
    state = (record.created_at, record.status, record.review_status, record.review_notes, drift)
    line = Line(uid, StoredSession(str(uid), *state, columns, payloads))
    told = line.session(line.bodies())
    for said, known, what in (
        (record.task, told.task.prompt, "task"),
        (record.final_answer, told.answer or "", "final_answer"),
        (record.learning_key, told.task.learning_key, "learning_key"),
        (record.tenant, told.task.tenant, "tenant"),
    ):
        if _paired(said) != _paired(known):
            raise ValueError(f"its {what} is not what its events say")
    return line


def _payload(event: RecordedEvent) -> str:
    if event.event.get("type") != event.type:
        raise ValueError(f"event {event.id} is not of the type it says")
    return json.dumps(event.event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _columns(event: RecordedEvent, body: dict[str, Any]) -> StoredEvent:
    """The columns of an event, from its body."""
    about: dict[str, Any] = body
    if event.type in ("attempted", "reviewed"):
        about = body["attempt" if event.type == "attempted" else "review"]
    used = body["completion"]["usage"] if event.type == "model_called" else None
    return StoredEvent(
        seq=event.id,
        at=event.created_at,
        type=event.type,
        actor=body.get("actor"),
        step=about.get("step"),
        attempt=about.get("number", about.get("attempt")),
        duration_s=body.get("latency_s"),
        purpose=body.get("purpose"),
        usage=None if used is None else json.dumps(used),
    )


def _paired(text: str) -> str:
    """A text as JSON hands it on: a high surrogate before a low one is one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).split("\n", 1)[0]
