"""OTLP in its binary encoding; needs the extra `otel`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from atlas.ingest.spans import DEEPEST, BadSpan, Delivery, Span, SpanEvent, Unreadable, checked, fit
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

MISSING = ConfigError(
    "Protobuf traces need OpenTelemetry, which is not installed.",
    "Install it: pip install 'atlas-loop[otel]', or send JSON.",
)


def read_proto(body: bytes) -> Delivery:
    """The spans of a request body. A span that cannot be taken is counted, and the others are.

    Raises:
        ConfigError: OpenTelemetry's message types are not installed.
        Unreadable: the body is not a trace request.
    """
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise MISSING from error
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise Unreadable("the body is not a protobuf trace request") from None
    spans: list[Span] = []
    reasons: list[str] = []
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for raw in (raw for scope in group.scope_spans for raw in scope.spans):
            try:
                spans.append(_span(raw, resource))
            except BadSpan as error:
                reasons.append(str(error))
    return Delivery(spans=tuple(spans), refused=len(reasons), reason=reasons[0] if reasons else "")


def proto_response(refused: int, reason: str) -> bytes:
    """The reply to a request that was read; `refused` spans of it were not taken."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    response = ExportTraceServiceResponse()
    if refused or reason:
        response.partial_success.rejected_spans = refused
        response.partial_success.error_message = reason
    return response.SerializeToString()


def proto_status(message: str) -> bytes:
    """The body of an error: a `google.rpc.Status` with field 2, the message, as the protocol wants it."""
    raw = message.encode()
    head, rest = bytearray([0x12]), len(raw)
    while rest > 0x7F:
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*head, rest]) + raw


def _span(raw: WireSpan, resource: dict[str, Any]) -> Span:
    return checked(
        Span(
            trace_id=raw.trace_id.hex(),
            span_id=raw.span_id.hex(),
            parent_id=raw.parent_span_id.hex() or None,
            name=raw.name,
            start_ns=raw.start_time_unix_nano,
            end_ns=raw.end_time_unix_nano,
            attributes=_attributes(raw.attributes),
            events=tuple(SpanEvent(name=event.name, attributes=_attributes(event.attributes)) for event in raw.events),
            failed=raw.status.code == raw.status.STATUS_CODE_ERROR,
            message=raw.status.message,
            resource=resource,
        )
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value, DEEPEST) for pair in pairs}


def _value(raw: AnyValue, deeper: int) -> Any:
    kind = raw.WhichOneof("value")
    if kind is None or deeper == 0:
        return None
    match kind:
        case "array_value":
            return [_value(each, deeper - 1) for each in raw.array_value.values]
        case "kvlist_value":
            return {pair.key: _value(pair.value, deeper - 1) for pair in raw.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(raw.bytes_value).decode()
        case _:
            return fit(getattr(raw, kind))
