"""OTLP in its JSON encoding: ids in hexadecimal, 64-bit integers as texts or numbers, unknown fields ignored."""

from __future__ import annotations

import json
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from atlas.ingest.spans import DEEPEST, BadSpan, Delivery, Span, SpanEvent, Unreadable, checked, fit

ERROR_STATUS = (2, "STATUS_CODE_ERROR")


class _Wire(BaseModel):
    """A shape that a foreign program sends."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, populate_by_name=True)


class _Pair(_Wire):
    key: str = ""
    value: Any = None


class _Resource(_Wire):
    attributes: list[_Pair] | None = None


class _Event(_Wire):
    name: str | None = None
    attributes: list[_Pair] | None = None


class _Status(_Wire):
    code: int | str | None = None
    message: str | None = None


class _Span(_Wire):
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: int
    end_time_unix_nano: int | None = None
    attributes: list[_Pair] | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


class _Scope(_Wire):
    spans: list[Any] | None = None


class _ResourceSpans(_Wire):
    resource: _Resource | None = None
    scope_spans: list[_Scope] | None = None


class _Request(_Wire):
    resource_spans: list[_ResourceSpans] | None = Field(default=None)


def read_json(body: bytes) -> Delivery:
    """The spans of a request body. A span that cannot be taken is counted, and the others are.

    Raises:
        Unreadable: the body is not JSON, or not a trace request.
    """
    try:
        request = _Request.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unreadable(f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None
    spans: list[Span] = []
    reasons: list[str] = []
    for group in request.resource_spans or ():
        resource = _attributes(group.resource.attributes if group.resource else None)
        for raw in (raw for scope in group.scope_spans or () for raw in scope.spans or ()):
            try:
                spans.append(_span(_Span.model_validate(raw), resource))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                reasons.append(f"{'.'.join(map(str, first['loc'])) or 'span'}: {first['msg']}")
            except BadSpan as error:
                reasons.append(str(error))
    return Delivery(spans=tuple(spans), refused=len(reasons), reason=reasons[0] if reasons else "")


def _span(raw: _Span, resource: dict[str, Any]) -> Span:
    status = raw.status or _Status()
    return checked(
        Span(
            trace_id=raw.trace_id,
            span_id=raw.span_id,
            parent_id=raw.parent_span_id,
            name=fit(raw.name or ""),
            start_ns=raw.start_time_unix_nano,
            end_ns=raw.end_time_unix_nano or 0,
            attributes=_attributes(raw.attributes),
            events=tuple(
                SpanEvent(name=fit(event.name or ""), attributes=_attributes(event.attributes))
                for event in raw.events or ()
            ),
            failed=status.code in ERROR_STATUS,
            message=fit(status.message or ""),
            resource=resource,
        )
    )


def _attributes(pairs: list[_Pair] | None) -> dict[str, Any]:
    return {fit(pair.key): _value(pair.value, DEEPEST) for pair in pairs or ()}


def _value(raw: Any, deeper: int) -> Any:
    """The plain value inside an AnyValue; None where there is none."""
    if not isinstance(raw, dict) or deeper == 0:
        return None
    match cast(dict[str, Any], raw):
        case {"stringValue": str() as value} | {"boolValue": bool() as value} | {"bytesValue": str() as value}:
            return fit(value)
        case {"intValue": int() | str() as value}:
            return _number(int, value)
        case {"doubleValue": int() | float() | str() as value}:
            return _number(float, value)
        case {"arrayValue": {"values": [*values]}}:
            return [_value(each, deeper - 1) for each in values]
        case {"kvlistValue": {"values": [*values]}}:
            return _table(values, deeper)
        case _:
            return None


def _table(values: list[Any], deeper: int) -> dict[str, Any]:
    pairs = (cast(dict[str, Any], each) for each in values if isinstance(each, dict))
    return {fit(str(pair.get("key", ""))): _value(pair.get("value"), deeper - 1) for pair in pairs}


def _number(kind: type[int] | type[float], value: int | float | str) -> int | float | None:
    try:
        return fit(kind(value))
    except (ValueError, OverflowError):
        return None
