"""Traces as OTLP writes them in JSON, and a client of one receiver."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from base64 import b64encode
from typing import Any

import aiohttp
import pytest

from atlas.ingest import Ingest, IngestRules
from atlas.schema import Session
from atlas.store import Store

PROTOBUF = "application/x-protobuf"
QUICK = IngestRules(whole_s=0.05, gap_s=0.3, quiet_s=0.5)
TRACE = "0af7651916cd43dd8448eb211c80319c"
START = 1_760_000_000_000_000_000


class Client:
    """Sends to one receiver and looks into its store."""

    def __init__(self, ingest: Ingest, store: Store, port: int, http: aiohttp.ClientSession) -> None:
        self.ingest, self.store, self.http = ingest, store, http
        self.url = f"http://127.0.0.1:{port}/v1/traces"

    async def post(self, body: bytes | io.BytesIO, **headers: str) -> tuple[int, bytes]:
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(self.url, data=body, headers=sent) as reply:
            return reply.status, await reply.read()

    async def send(self, *spans: dict[str, Any], packed: bool = False) -> dict[str, Any]:
        body = json.dumps(request_of(*spans)).encode()
        headers = {"Content-Encoding": "gzip"} if packed else {}
        status, said = await self.post(gzip.compress(body) if packed else body, **headers)
        assert status == 200, said
        return json.loads(said)

    async def sessions(self) -> list[Session]:
        """Every session, once nothing waits."""
        async with asyncio.timeout(5):
            while self.ingest.taken().waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await self.store.flush()
        found = [await self.store.session(row.id) async for row in self.store.sessions()]
        return [session for session in found if session is not None]

    async def session(self) -> Session:
        (session,) = await self.sessions()
        return session


def any_value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [any_value(each) for each in value]}}
        case dict():
            return {"kvlistValue": {"values": pairs(value)}}
        case _:
            return {"stringValue": str(value)}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": any_value(value)} for name, value in attributes.items()]


def span(
    number: int,
    attributes: dict[str, Any],
    *,
    parent: int | None = 1,
    name: str = "",
    at: tuple[float, float] = (0.0, 1.0),
    trace: str = TRACE,
    **more: Any,
) -> dict[str, Any]:
    """A span as OTLP writes it in JSON; number 1 is the root."""
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent and number != 1 else {}),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START + int(at[0] * 1e9)),
        "endTimeUnixNano": str(START + int(at[1] * 1e9)),
        "attributes": pairs(attributes),
        **more,
    }


def event(name: str, **attributes: Any) -> dict[str, Any]:
    return {"timeUnixNano": str(START), "name": name, "attributes": pairs(attributes)}


def request_of(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": pairs({"service.name": "shop"})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "s"}, "spans": list(spans)}]}]}


def encoded(*spans: dict[str, Any]) -> bytes:
    return json.dumps(request_of(*spans)).encode()


def as_protobuf(*spans: dict[str, Any]) -> bytes:
    """The same request in the binary encoding, by OpenTelemetry's own message types."""
    json_format = pytest.importorskip("google.protobuf.json_format", reason="protobuf is not installed")
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

    def in_base64(each: dict[str, Any]) -> dict[str, Any]:
        ids = {name: each[name] for name in ("traceId", "spanId", "parentSpanId") if name in each}
        return each | {name: b64encode(bytes.fromhex(value)).decode() for name, value in ids.items()}

    tree = request_of(*map(in_base64, spans))
    return json_format.ParseDict(tree, service.ExportTraceServiceRequest()).SerializeToString()
