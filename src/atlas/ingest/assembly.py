"""Traces while they arrive: put together, turned into sessions when they are whole or nothing more comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from atlas.ingest.base import Busy, IngestRules, Reply, Taken
from atlas.ingest.dialects import kind_of
from atlas.ingest.labels import without_content
from atlas.ingest.late import late_events, settled_of, tells_more
from atlas.ingest.spans import Delivery, Span
from atlas.ingest.spool import Settled, Spool
from atlas.ingest.story import session_of
from atlas.ingest.trace import Trace
from atlas.schema import Event
from atlas.schema.errors import StoreError
from atlas.store import Store

RETRY_S = 5.0
"""Seconds until a session that the store did not take is offered again."""
TOO_LATE = "the trace is stored already; this span is no call and came too late"
TOO_MANY = "the trace has too many spans"

log = logging.getLogger("atlas.ingest")


class _Arriving:
    """A trace of which more may come."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.deliveries = 0
        self.size = 0
        self.due = 0.0
        self._missing: set[str] = set()
        self._has_root = False
        self._tells = False

    def add(self, span: Span, size: int) -> None:
        """Take a span. Of two that claim the same id the one that ended later is kept, whichever came first."""
        self.deliveries += 1
        self.size += size
        known = self.spans.get(span.span_id)
        if known is None or (span != known and _rank(span) > _rank(known)):
            self.spans[span.span_id] = span
        self._missing.discard(span.span_id)
        if span.parent_id is None:
            self._has_root = True
        elif span.parent_id not in self.spans:
            self._missing.add(span.parent_id)
        self._tells = self._tells or kind_of(span) != "other"

    def patience_s(self, rules: IngestRules) -> float:
        """Seconds without news after which it is taken as it is."""
        if not self._has_root:
            return rules.quiet_s
        return rules.whole_s if self._tells and not self._missing else rules.gap_s


class Ingest:
    """Takes spans, and writes the session of each trace once."""

    def __init__(self, store: Store, spool: Spool, rules: IngestRules) -> None:
        self._store = store
        self._spool = spool
        self._rules = rules
        self._arriving: dict[str, _Arriving] = {}
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._accepted = self._stored = self._refused = self._sessions = 0
        self._tending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take up what an earlier receiver left behind, and begin."""
        for spans in self._spool.left():
            self._add(spans, size=0)
        self._tending = asyncio.create_task(self._tend(), name="atlas-ingest")

    async def take(self, delivery: Delivery, *, size: int) -> Reply:
        """Accept a request's spans; on return a kill -9 of this process loses none of them. `size` is in bytes.

        Raises:
            Busy: too much waits, or the spans cannot be written down.
        """
        async with self._lock:
            if delivery.spans and sum(each.size for each in self._arriving.values()) > self._rules.most_waiting_bytes:
                raise Busy("too many spans wait for the rest of their trace")
            fresh, refused, reason = self._add(delivery.spans, size=size)
            self._accepted += delivery.refused
            self._refused += delivery.refused
            name = self._spool.expect(fresh) if fresh else None
        self._news.set()
        if name is not None:
            try:
                await asyncio.to_thread(self._spool.put, name, fresh)
            except StoreError as error:
                log.error("%s", error)
                raise Busy(error.message) from error
        return Reply(refused=refused + delivery.refused, reason=delivery.reason or reason)

    def taken(self) -> Taken:
        """The counts at this moment."""
        return Taken(
            accepted=self._accepted,
            stored=self._stored,
            refused=self._refused,
            waiting=sum(each.deliveries for each in self._arriving.values()),
            sessions=self._sessions,
        )

    async def settle(self) -> Taken:
        """Take every trace as it is, now."""
        for trace_id in list(self._arriving):
            await self._settle(trace_id, now=float("inf"))
        return self.taken()

    async def close(self) -> Taken:
        """Settle all and give back the spool; what the store did not take waits there for the next receiver."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        taken = await self.settle()
        self._spool.close()
        return taken

    def _add(self, spans: Sequence[Span], *, size: int) -> tuple[list[Span], int, str]:
        """Put spans to their traces; those that are new, how many were refused, and why."""
        fresh: list[Span] = []
        refused, reason = 0, ""
        self._accepted += len(spans)
        for span in spans if self._rules.capture_content else map(without_content, spans):
            stored = self._spool.stored(span.trace_id)
            if stored is not None and span.span_id in stored.span_ids:
                self._stored += 1
                continue
            too_late = stored is not None and not tells_more(stored, span)
            arriving = self._arriving.get(span.trace_id) or _Arriving()
            full = len(arriving.spans) >= self._rules.most_spans and span.span_id not in arriving.spans
            if too_late or full:
                refused, reason = refused + 1, TOO_MANY if full else TOO_LATE
                continue
            arriving.add(span, size // len(spans))
            patience_s = self._rules.gap_s if stored else arriving.patience_s(self._rules)
            arriving.due = asyncio.get_running_loop().time() + patience_s
            self._arriving[span.trace_id] = arriving
            fresh.append(span)
        self._refused += refused
        return fresh, refused, reason

    async def _tend(self) -> None:
        """Settle each trace when its time has come."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            now = loop.time()
            for trace_id in [name for name, arriving in self._arriving.items() if arriving.due <= now]:
                await self._settle(trace_id, now=now)
            soonest = min((arriving.due for arriving in self._arriving.values()), default=None)
            try:
                async with asyncio.timeout_at(soonest):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _settle(self, trace_id: str, *, now: float) -> None:
        async with self._lock:
            arriving = self._arriving.get(trace_id)
            if arriving is None or arriving.due > now:
                return
            known = self._spool.stored(trace_id)
            spans = list(arriving.spans.values())
            try:
                stored = await (self._add_to(known, spans) if known else self._write(spans))
            except StoreError as error:
                log.error("A session waits: %s", error)
                arriving.due = asyncio.get_running_loop().time() + RETRY_S
                return
            del self._arriving[trace_id]
            self._spool.settle(trace_id, stored)
            self._stored += arriving.deliveries if stored else 0
            self._refused += 0 if stored else arriving.deliveries
            self._sessions += stored is not None and known is None

    async def _write(self, spans: list[Span]) -> Settled | None:
        """Write the session of a trace; None where it tells of none, or where the store has it with other spans.

        Raises:
            StoreError: the store could not take it.
        """
        events = await asyncio.to_thread(self._read, spans)
        if not events:
            return None
        known = await self._store.events(events[0].session_id)
        if [*map(_outline, known)] != [*map(_outline, events[: len(known)])]:
            log.error("Session %s is stored already, with other spans of its trace.", events[0].session_id)
            return None
        await self._store.append(events[len(known) :])
        return settled_of(Trace(spans), events[0].session_id)

    async def _add_to(self, settled: Settled, spans: list[Span]) -> Settled | None:
        """Add late spans to the session of their trace; None where it is gone.

        Raises:
            StoreError: the store could not take them.
        """
        known = await self._store.events(settled.session_id)
        if not known:
            log.error("Session %s is not in the store; %d late spans are refused.", settled.session_id, len(spans))
            return None
        added = await asyncio.to_thread(late_events, known, Trace(spans))
        if added:
            await self._store.append(added)
        return settled_of(Trace(spans), settled.session_id)

    def _read(self, spans: list[Span]) -> list[Event]:
        trace = Trace(spans)
        if not trace.tells_of_an_agent:
            log.info("Trace %s tells of no agent; %d spans are refused.", spans[0].trace_id, len(spans))
            return []
        try:
            return session_of(trace, tenant=self._rules.tenant, learning_key=self._rules.learning_key)
        except Exception as error:  # the boundary to foreign programs: a trace nobody can read is refused and told once
            log.error("Trace %s cannot be read (%s: %s).", spans[0].trace_id, type(error).__name__, error)
            return []


def _outline(event: Event) -> tuple[datetime, str]:
    """What tells a stored session from another one of the same trace; its texts may have been cleaned of secrets."""
    return event.at, event.body.type


def _rank(span: Span) -> tuple[int, str]:
    return span.end_ns, span.model_dump_json()
