"""The spans of one trace with their kinds and parents."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable

from atlas.ingest.dialects import Kind, kind_of
from atlas.ingest.spans import Span


class Trace:
    """Spans in the order of their times, whatever the order of their arrival was."""

    def __init__(self, spans: Iterable[Span]) -> None:
        """At least one span; each id once."""
        self.spans = sorted(spans, key=lambda span: (span.start_ns, span.end_ns, span.span_id))
        self.kinds: dict[str, Kind] = {span.span_id: kind_of(span) for span in self.spans}
        self._by_id = {span.span_id: span for span in self.spans}
        self._above: dict[str, frozenset[Kind]] = {}
        for span in self.spans:
            self._look_up(span)

    def of(self, kind: Kind) -> list[Span]:
        """The spans of a kind that stand below no other of it: two instrumentations may tell the same call."""
        return [span for span in self.spans if self.kinds[span.span_id] == kind and not self.is_below(span, kind)]

    def is_below(self, span: Span, kind: Kind) -> bool:
        """Whether a span of that kind stands above this one."""
        return kind in self._above[span.span_id]

    @property
    def root(self) -> Span:
        """The span without a parent; where there is none, the earliest of those whose parent is missing."""
        tops = [span for span in self.spans if span.parent_id is None]
        return (tops or [span for span in self.spans if span.parent_id not in self._by_id] or self.spans)[0]

    @property
    def has_root(self) -> bool:
        """Whether the span without a parent has arrived."""
        return any(span.parent_id is None for span in self.spans)

    @property
    def is_whole(self) -> bool:
        """Whether the root has arrived, and every parent that is named."""
        return self.has_root and all(span.parent_id is None or span.parent_id in self._by_id for span in self.spans)

    @property
    def tells_of_an_agent(self) -> bool:
        """Whether there is anything in it to learn from."""
        return any(kind != "other" for kind in self.kinds.values())

    @property
    def session_id(self) -> str:
        """A UUID version 8 (RFC 9562): the start in milliseconds, then bits that follow from the trace's id."""
        first = self.spans[0]
        digest = hashlib.sha256(f"otlp {first.trace_id}".encode()).digest()
        value = ((first.start_ns // 1_000_000) & (2**48 - 1)) << 80 | int.from_bytes(digest[:10], "big")
        value = value & ~(0xF << 76) | (0x8 << 76)
        return str(uuid.UUID(int=value & ~(0x3 << 62) | (0x2 << 62)))

    def _look_up(self, span: Span) -> None:
        """Note which kinds stand above a span and above those on the way, each once however deep the trace is."""
        way: dict[str, Span] = {}
        here: Span | None = span
        while here is not None and here.span_id not in self._above and here.span_id not in way:
            way[here.span_id] = here  # foreign parents may go round in a circle; it is cut where it was entered
            here = self._by_id.get(here.parent_id or "")
        found: frozenset[Kind] = frozenset()
        if here is not None and here.span_id in self._above:
            found = self._with(here, self._above[here.span_id])
        for below in reversed(way.values()):
            self._above[below.span_id] = found
            found = self._with(below, found)

    def _with(self, span: Span, above: frozenset[Kind]) -> frozenset[Kind]:
        kind = self.kinds[span.span_id]
        return above if kind in above else frozenset((*above, kind))
