"""A span as it arrived, whatever its encoding was."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import Field

from atlas.models.text import scrub
from atlas.schema import Noun

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}").fullmatch
LATEST_NS = 253_402_300_799 * 10**9
"""The last second of the year 9999; later times cannot be recorded."""
DEEPEST = 64
"""Levels of nested values that are read; what lies deeper is left out."""


def fit(value: Any) -> Any:
    """A value that JSON and UTF-8 can carry: no lone surrogates, no infinite numbers."""
    match value:
        case str():
            return scrub(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case _:
            return value


class BadSpan(ValueError):
    """A span that cannot be taken; the message says why, in a few words."""


class Unreadable(ValueError):
    """A body that is no trace request at all."""


class SpanEvent(Noun):
    """Something that happened within a span."""

    name: str
    """Its name."""
    attributes: dict[str, Any] = Field(default_factory=dict)
    """What it says (a payload)."""


class Span(Noun):
    """One operation of an agent, or of the program around it."""

    trace_id: str
    """32 hexadecimal digits, lower case."""
    span_id: str
    """16 hexadecimal digits, lower case; unique within the trace."""
    parent_id: str | None = None
    """The span that caused it; None for the root."""
    name: str = ""
    """Its name."""
    start_ns: int
    """Nanoseconds since 1970."""
    end_ns: int
    """Nanoseconds since 1970, never before the start."""
    attributes: dict[str, Any] = Field(default_factory=dict)
    """What it says (a payload)."""
    events: tuple[SpanEvent, ...] = ()
    """What happened within it."""
    failed: bool = False
    """Whether its status is an error."""
    message: str = ""
    """The status's own words."""
    resource: dict[str, Any] = Field(default_factory=dict)
    """What is known of the process that sent it (a payload)."""


class Delivery(Noun):
    """What one request brought."""

    spans: tuple[Span, ...] = ()
    """The spans that can be taken."""
    refused: int = 0
    """How many cannot."""
    reason: str = ""
    """Why not, for the first of them."""


def checked(span: Span) -> Span:
    """The span with its ids in lower case and an end that is not before its start.

    Raises:
        BadSpan: an id or a time is impossible.
    """
    trace_id, span_id = span.trace_id.lower(), span.span_id.lower()
    parent_id = (span.parent_id or "").lower()
    if not _TRACE_ID(trace_id):
        raise BadSpan("a trace id is not 16 bytes, or zero")
    if not _SPAN_ID(span_id):
        raise BadSpan("a span id is not 8 bytes, or zero")
    if parent_id.strip("0") and not _SPAN_ID(parent_id):
        raise BadSpan("a parent's span id is not 8 bytes")
    if not 0 < span.start_ns <= LATEST_NS or span.end_ns > LATEST_NS:
        raise BadSpan("a start or end time is missing or beyond the year 9999")
    parent = parent_id if parent_id.strip("0") and parent_id != span_id else None
    ids = {"trace_id": trace_id, "span_id": span_id, "parent_id": parent}
    return span.model_copy(update={**ids, "end_ns": max(span.start_ns, span.end_ns)})
