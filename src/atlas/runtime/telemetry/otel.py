"""Sessions as OpenTelemetry traces: one `invoke_agent` span each, with a span for every model and tool call.

Whatever the receiver does, no session waits for it: spans are made in the subscriber's thread and sent from another.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from atlas.config.telemetry import TelemetryConfig
from atlas.models.http import expand_headers
from atlas.runtime.telemetry import semconv as sc
from atlas.runtime.telemetry.attributes import Attributes, Narrator, fit
from atlas.runtime.telemetry.bus import EventBus, Subscription
from atlas.schema import Body, Event, Failure
from atlas.schema import events as ev
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Span, Tracer

Clean = Callable[[Body], Body]

SESSIONS = 10_000
"""Sessions whose span is remembered; beyond it the oldest is ended as it stands."""
EXPORT_TIMEOUT_S = 5.0
"""Seconds of one export, tries included."""
CLOSE_S = 6.0
"""Seconds that closing waits for the last export."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTALL = "Install it: pip install 'atlas-loop[otel]'."


@dataclass(slots=True)
class _Told:
    """A session as far as it has been told."""

    root: Span
    """Its span; ended when nothing more is expected on it."""
    context: Context
    """Holds the span, for those below it."""
    store_id: str
    """Whose playbook it reads, `tenant/key`."""
    finished_ns: int | None = None
    """When the final state was reached, while the reward is still awaited."""


class SpanExport:
    """A subscriber of the event bus that tells every session as a trace."""

    def __init__(
        self, bus: EventBus, provider: TracerProvider, narrator: Narrator, *, clean: Clean | None = None
    ) -> None:
        """`clean` takes secrets out of what an event says."""
        self._provider = provider
        self._clean = clean
        self._tracer: Tracer = provider.get_tracer("atlas", schema_url=None)
        self._narrator = narrator
        self._sessions: OrderedDict[str, _Told] = OrderedDict()
        self._subscription: Subscription = bus.subscribe(self, on_end=self._end_all)

    def __call__(self, event: Event) -> None:
        """Tell one event; one of a session whose beginning was missed is passed over."""
        body = self._clean(event.body) if self._clean else event.body
        if isinstance(body, ev.SessionStarted | ev.SessionResumed):
            self._begin(event, body)
            return
        told = self._sessions.get(event.session_id)
        if told is None:
            return
        match body:
            case ev.ModelCalled() | ev.ModelFailed() | ev.ToolCalled():
                self._call(told, event, body)
            case ev.MemoryRecalled() | ev.Learnt() | ev.LearningFailed():
                self._memory(told, event, body)
            case ev.Finished():
                self._finish(told, event, body)
            case ev.Rewarded():
                self._tell(told, event, *self._narrator.evaluation(body))
                self._end(told, _ns(event.at))
            case ev.Reviewed() | ev.Judged() | ev.JudgeFailed():
                self._tell(told, event, *self._narrator.evaluation(body))
            case ev.Degraded(what=what, failure=failure):
                self._tell(told, event, sc.DEGRADED_EVENT, {sc.DEGRADED_WHAT: what, sc.ERROR_TYPE: failure.kind})
            case ev.Routed() | ev.Answered():
                told.root.set_attributes(fit(self._narrator.outcome(body)))
            case _:
                pass

    async def close(self) -> None:
        """Deliver what waits and send it, within a bounded time; what a dead receiver did not take is lost."""
        await asyncio.to_thread(self._subscription.close)
        ending = threading.Thread(target=self._provider.shutdown, name="atlas-otel-close", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, CLOSE_S)

    def _begin(self, event: Event, body: ev.SessionStarted | ev.SessionResumed) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        if event.session_id in self._sessions:  # it was interrupted and goes on in this process
            self._end(self._sessions.pop(event.session_id), _ns(event.at))
        attributes = fit(self._narrator.session(event.session_id, body))
        _session.set(UUID(event.session_id).int)
        root = self._tracer.start_span(
            self._narrator.title, kind=SpanKind.INTERNAL, attributes=attributes, start_time=_ns(event.at)
        )
        task = body.task if isinstance(body, ev.SessionStarted) else None
        store_id = f"{task.tenant}/{task.learning_key}" if task else ""
        self._sessions[event.session_id] = _Told(root, set_span_in_context(root), store_id)
        if len(self._sessions) > SESSIONS:
            self._end(self._sessions.popitem(last=False)[1], _ns(event.at))

    def _call(self, told: _Told, event: Event, body: ev.ModelCalled | ev.ModelFailed | ev.ToolCalled) -> None:
        from opentelemetry.trace import SpanKind

        tool = isinstance(body, ev.ToolCalled)
        span = self._tracer.start_span(
            self._narrator.call_title(body),
            context=told.context,
            kind=SpanKind.INTERNAL if tool else SpanKind.CLIENT,
            attributes=fit(self._narrator.tool(body) if tool else self._narrator.model(body)),
            start_time=_ns(event.at - timedelta(seconds=max(0.0, body.latency_s))),
        )
        if isinstance(body, ev.ModelFailed):
            _fail(span, body.failure.message)
        elif tool and body.use.error is not None:
            _fail(span, self._narrator.private(body.use.error))
        span.end(_ns(event.at))

    def _memory(self, told: _Told, event: Event, body: ev.MemoryRecalled | ev.Learnt | ev.LearningFailed) -> None:
        for name, attributes in self._narrator.memory(told.store_id, body):
            begins = _ns(event.at)
            span = self._tracer.start_span(name, context=told.context, attributes=fit(attributes), start_time=begins)
            if isinstance(body, ev.LearningFailed):
                _fail(span, body.failure.message)
            span.end(_ns(event.at))

    def _finish(self, told: _Told, event: Event, body: ev.Finished) -> None:
        """A session that succeeded is judged next; its span waits for the verdicts and keeps its own end."""
        told.root.set_attribute(sc.STATUS, body.status)
        if body.status != "succeeded":
            failure = body.failure or Failure(boundary="atlas", kind=body.status, message=body.status)
            told.root.set_attribute(sc.ERROR_TYPE, failure.kind)
            _fail(told.root, failure.message)
        told.finished_ns = _ns(event.at)
        if body.status != "succeeded":
            self._end(told, told.finished_ns)

    def _tell(self, told: _Told, event: Event, name: str, attributes: Attributes) -> None:
        told.root.add_event(name, fit(attributes), timestamp=_ns(event.at))

    def _end(self, told: _Told, now_ns: int) -> None:
        if told.root.is_recording():
            told.root.end(told.finished_ns or now_ns)

    def _end_all(self) -> None:
        now_ns = _ns(datetime.now(UTC))
        for told in self._sessions.values():
            self._end(told, now_ns)


def export_spans(
    bus: EventBus, config: TelemetryConfig, *, agent: str, clean: Clean | None = None
) -> SpanExport | None:
    """Send every session of this bus to the configured receiver; None where none is configured.

    `agent` is the agent's name in span names; `clean` takes secrets out of what an event says.

    Raises:
        ConfigError: OpenTelemetry is not installed, or a header's variable is not set.
    """
    if config.otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError("telemetry.otlp_endpoint needs OpenTelemetry, which is not installed.", INSTALL) from error
    base = config.otlp_endpoint.rstrip("/")
    exporter = OTLPSpanExporter(
        endpoint=base if base.endswith("/v1/traces") else f"{base}/v1/traces",
        headers=expand_headers(config.headers)[0] or None,
        timeout=EXPORT_TIMEOUT_S,
    )
    return export_through(BatchSpanProcessor(exporter), bus, config, agent=agent, clean=clean)


def export_through(
    processor: SpanProcessor, bus: EventBus, config: TelemetryConfig, *, agent: str, clean: Clean | None = None
) -> SpanExport:
    """As `export_spans`, through a span processor of the caller's own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(
        resource=Resource.create({"service.name": config.service_name}),
        id_generator=_session_ids(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    return SpanExport(bus, provider, Narrator(agent, capture=config.capture_content), clean=clean)


_session: ContextVar[int] = ContextVar("atlas_session", default=0)
"""The session whose trace begins in this context."""


def _session_ids() -> IdGenerator:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class SessionIds(RandomIdGenerator):
        """A trace without a caller's own has its session's id."""

        def generate_trace_id(self) -> int:
            return _session.get() or super().generate_trace_id()

    return SessionIds()


def _fail(span: Span, message: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, message))


def _ns(at: datetime) -> int:
    """Nanoseconds since 1970, exact to the microsecond."""
    return (at - EPOCH) // timedelta(microseconds=1) * 1000
