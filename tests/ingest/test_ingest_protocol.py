"""The receiver keeps to OTLP over HTTP, and no body makes it fail."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from ingest_kit import PROTOBUF, QUICK, START, as_protobuf, encoded
from ingest_traces import ANSWER, genai

from atlas.ingest import Ingest, Receiver, Spool
from atlas.schema.errors import ConfigError
from atlas.store import MemoryStore

Serve = Callable[..., Any]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["application/json", PROTOBUF])
async def test_both_encodings_plain_and_packed_tell_the_same(serve: Serve, encoding: str, packed: bool) -> None:
    client = await serve()
    body = encoded(*genai()) if encoding != PROTOBUF else as_protobuf(*genai())
    headers = {"Content_Type": encoding} | ({"Content_Encoding": "gzip"} if packed else {})
    status, said = await client.post(gzip.compress(body) if packed else body, **headers)
    assert (status, said) == (200, b"" if encoding == PROTOBUF else b"{}")
    session = await client.session()
    plain = await serve()
    await plain.send(*genai())
    assert session == await plain.session()
    assert session.answer == ANSWER


async def test_refused_spans_are_told_in_both_encodings(serve: Serve) -> None:
    client = await serve()
    broken = genai()[0] | {"spanId": "00"}
    said = await client.send(broken, *genai()[1:])
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    assert "span id" in said["partialSuccess"]["errorMessage"]
    status, raw = await client.post(as_protobuf(broken), Content_Type=PROTOBUF)
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    assert status == 200
    assert service.ExportTraceServiceResponse.FromString(raw).partial_success.rejected_spans == 1


@pytest.mark.parametrize(
    "change",
    [
        {"traceId": "0" * 32},
        {"traceId": "zz"},
        {"spanId": None},
        {"startTimeUnixNano": "0"},
        {"startTimeUnixNano": -5},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": str(10**21)},
        {"endTimeUnixNano": str(10**30)},
        {"attributes": [{"key": 5}]},
        {"parentSpanId": "xyz"},
    ],
    ids=str,
)
async def test_a_span_that_cannot_be_is_refused_alone(serve: Serve, change: dict[str, Any]) -> None:
    client = await serve()
    said = await client.send(genai()[0] | change, *genai()[1:])
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    assert len(await client.sessions()) == 1


async def test_an_end_before_the_start_is_no_time_at_all(serve: Serve) -> None:
    client = await serve()
    await client.send(genai()[-1] | {"endTimeUnixNano": str(START - 10**9)})
    session = await client.session()
    assert session.finished_at == session.created_at


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"no json", {}, 400),
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b'{"resourceSpans": 5}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"\xff\xff\xff", {"Content_Type": PROTOBUF}, 400),
        (b"{}", {"Content_Type": "text/plain"}, 415),
        (b"{}", {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"{}")[:-4], {"Content_Encoding": "gzip"}, 400),
        (b"{}", {"Content_Encoding": "br"}, 415),
        (gzip.compress(b"{") + gzip.compress(b"}"), {"Content_Encoding": "gzip"}, 200),
        (zlib.compress(b"{}"), {"Content_Encoding": "deflate"}, 200),
        (b"{}", {"Content_Encoding": "identity"}, 200),
        (b"{}", {}, 200),
        (b"", {"Content_Type": PROTOBUF}, 200),
        (b'{"resourceSpans": null}', {"Content_Type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_a_body_that_is_no_request(serve: Serve, body: bytes, headers: dict[str, str], status: int) -> None:
    client = await serve()
    got, said = await client.post(body, **headers)
    assert got == status, said
    assert (await client.post(encoded(*genai())))[0] == 200


async def test_errors_have_the_protocols_own_body(serve: Serve) -> None:
    client = await serve()
    _, said = await client.post(b"no json")
    assert json.loads(said)["message"] == "the body is not JSON"
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    for body, headers in ((b"\xff" * 3, {}), (b"x" * 300, {"Content_Encoding": "gzip"})):
        _, said = await client.post(body, Content_Type=PROTOBUF, **headers)
        assert "the body" in status_pb2.Status.FromString(said).message


async def test_other_places_and_methods(serve: Serve) -> None:
    client = await serve()
    async with client.http.get(client.url) as reply:
        assert reply.status == 405
    async with client.http.post(client.url.replace("traces", "metrics"), json={}) as reply:
        assert reply.status == 404
    async with client.http.get(client.url.replace("v1/traces", "status")) as reply:
        assert (await reply.json())["accepted"] == 0


async def test_a_body_of_100_mb_and_a_bomb_are_refused_without_being_kept(serve: Serve) -> None:
    client = await serve(most_bytes=1_000_000)
    for _ in range(2):
        status, said = await client.post(io.BytesIO(b"x" * 100_000_000))
        assert (status, b"1000000" in said) == (413, True)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    async with client.http.post(client.url, data=endless(), headers={"Content-Type": "application/json"}) as reply:
        assert reply.status == 413
    bomb = zlib.compressobj(wbits=31)
    packed = b"".join(bomb.compress(b" " * 1_000_000) for _ in range(200)) + bomb.flush()
    status, _ = await client.post(packed, Content_Encoding="gzip")
    assert status == 413
    assert (await client.post(encoded(*genai())))[0] == 200


async def test_a_token_is_asked_for(serve: Serve) -> None:
    client = await serve(token="geheim")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic geheim"}):
        status, _ = await client.post(encoded(*genai()), **headers)
        assert status == 401
    assert (await client.post(encoded(*genai()), Authorization="Bearer geheim"))[0] == 200


async def test_the_network_is_not_listened_to_without_a_token() -> None:
    ingest = Ingest(MemoryStore(), Spool(None), QUICK)
    with pytest.raises(ConfigError, match="Set a token"):
        await Receiver(ingest).open("0.0.0.0", 0)
    taken = Receiver(ingest)
    port = await taken.open("127.0.0.1", 0)
    with pytest.raises(ConfigError, match="Give --port"):
        await Receiver(ingest).open("127.0.0.1", port)
    await taken.close()


async def test_without_opentelemetry_json_still_works(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await serve()
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", None)
    status, said = await client.post(b"", Content_Type=PROTOBUF)
    assert (status, b"atlas-loop[otel]" in said) == (415, True)
    assert (await client.post(encoded(*genai())))[0] == 200
