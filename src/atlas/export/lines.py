"""A record as one line of JSON. Event bodies are handed through as the database stores them, each long text once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pydantic_core import PydanticSerializationError

from atlas.export.assemble import record_of
from atlas.export.bodies import SessionBodies
from atlas.export.record import SessionRecord, plain
from atlas.export.source import StoredEvent, StoredSession
from atlas.schema import Noun
from atlas.store.pooling import Pool

_BREAKS = "\x85\u2028\u2029"
"""Characters that some readers of lines take for the end of one."""


class Jsonl:
    """The record of a session on one line."""

    by_question = False

    def __init__(self, event_limit: int | None = None) -> None:
        """`event_limit`: of the events only the newest so many; None for all."""
        self._event_limit = event_limit

    def rows(self, sessions: Sequence[StoredSession]) -> Iterator[str]:
        """See `Format.rows`."""
        for stored in sessions:
            yield line_of(record_of(stored), stored, event_limit=self._event_limit)


def line_of(record: SessionRecord, stored: StoredSession, *, event_limit: int | None = None) -> str:
    """A record with the session's events as one line, without its end."""
    kept, payloads = stored.events, stored.payloads
    left_out = max(len(kept) - event_limit, 0) if event_limit is not None else 0
    if left_out:
        record = record.model_copy(update={"events_left_out": left_out})
        kept = kept[left_out:]
        payloads = _self_contained(kept, SessionBodies(payloads))
    head = json_of(record)
    body = "},".join([_head(event) + payloads[event.seq] for event in kept])
    line = f'{head.removesuffix(_NO_EVENTS)},"trajectory_events":[{body}{"}" if kept else ""}]}}'
    for char in _BREAKS:
        if char in line:
            line = line.replace(char, f"\\u{ord(char):04x}")
    return line


_NO_EVENTS = ',"trajectory_events":null}'


def json_of(noun: Noun) -> str:
    """A noun as JSON on one line; a text that UTF-8 cannot carry makes it ASCII with escapes."""
    try:
        return noun.model_dump_json()
    except PydanticSerializationError:  # A lone surrogate.
        return json.dumps(plain(noun.model_dump()), separators=(",", ":"))


def _head(event: StoredEvent) -> str:
    """What stands before an event's body."""
    actor = f'"{event.actor}"' if event.actor else "null"
    at = event.at.isoformat()
    return f'{{"id":{event.seq},"type":"{event.type}","actor":{actor},"created_at":"{at}","event":'


def _self_contained(events: Sequence[StoredEvent], bodies: SessionBodies) -> dict[int, str]:
    """The bodies of these events, referring to no other event."""
    pool = Pool()
    return {event.seq: pool.encode(event.seq, bodies.body(event.seq)).decode() for event in events}
