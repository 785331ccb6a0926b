"""Whatever fails, the client gets what the upstream says, or a clear error, in time."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from proxy_kit import chat, chat_stream, chunk, reply, sse, stream, user

from atlas.proxy import sessions
from atlas.schema import Background, Event
from atlas.schema.errors import StoreError, StoreUnavailable
from atlas.store import MemoryStore

Serve = Any
BODY = {"model": "m", "messages": [user("Weather?")]}
CHAT = "/v1/chat/completions"
SOON_S = 1.5
"""A second, and what a busy machine adds."""


class Broken(MemoryStore):
    """A store that fails or hangs in one of its parts, as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fault = ""

    async def _suffer(self, part: str) -> None:
        if self.fault == f"{part} fails":
            raise StoreUnavailable("The disk is full.")
        if self.fault == f"{part} hangs":
            await asyncio.sleep(3600)
        if self.fault == f"{part} has a defect":
            raise ZeroDivisionError("a defect")

    async def append(self, events: Sequence[Event]) -> None:
        await self._suffer("append")
        await super().append(events)

    async def background(self, tenant: str, key: str, *, limit: int) -> Background:
        await self._suffer("background")
        return await super().background(tenant, key, limit=limit)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    store = Broken()

    async def opened(*_: Any, **__: Any) -> Broken:
        return store

    monkeypatch.setattr("atlas.runtime.build.open_store", opened)
    monkeypatch.setattr(sessions, "REST_S", 0.3)
    return store


FAULTS = [f"{part} {how}" for part in ("append", "background") for how in ("fails", "hangs")]


@pytest.mark.parametrize("fault", [*FAULTS, "append has a defect"])
async def test_a_broken_store_costs_a_client_no_more_than_a_second(serve: Serve, broken: Broken, fault: str) -> None:
    client = await serve()
    broken.fault = fault
    began = time.monotonic()
    assert (await client.say(user("Weather?")))["content"] == "It is sunny."
    assert time.monotonic() - began < SOON_S
    again = time.monotonic()
    assert (await client.say(user("Else?")))["content"] == "It is sunny."
    assert time.monotonic() - again < 0.5 * SOON_S
    broken.fault = ""
    await asyncio.sleep(0.5)
    await client.say(user("Back?"))
    done = await client.sessions()
    assert done[-1].status == "succeeded"
    assert client.opened.sessions.counts().store == "up"
    if fault.startswith("append"):
        assert client.opened.sessions.counts().unrecorded == 2
    else:
        assert [one.what for one in done[0].degraded] == ["no memory and no history"]


async def test_a_store_that_breaks_in_the_middle_leaves_no_session_without_an_end(serve: Serve, broken: Broken) -> None:
    client = await serve()

    async def breaks(request: web.Request) -> web.StreamResponse:
        broken.fault = "append fails"
        return await reply(chat("Sunny."))(request)

    client.upstream.play(breaks)
    assert (await client.say(user("Weather?")))["content"] == "Sunny."
    assert client.opened.sessions.counts().unrecorded == 1
    broken.fault = ""
    session = await client.session()
    assert session.status == "interrupted"
    assert [event.seq for event in await client.events(session)] == list(range(1, 7))


async def test_a_database_that_is_away_at_the_start_is_waited_for_behind_the_calls(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "REST_S", 0.2)
    away = [StoreUnavailable("The database is away."), StoreError("It still is.")]

    async def opened(*_: Any, **__: Any) -> MemoryStore:
        if away:
            raise away.pop(0)
        return MemoryStore()

    monkeypatch.setattr("atlas.runtime.build.open_store", opened)
    client = await serve()
    assert (await client.say(user("Weather?")))["content"] == "It is sunny."
    counts = client.opened.sessions.counts()
    assert (counts.unrecorded, counts.store) == (1, "The database is away.")
    async with asyncio.timeout(5):
        while client.opened.sessions.counts().store != "up":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await client.say(user("Back?"))
    assert (await client.session()).task.prompt == "Back?"


async def test_a_start_does_not_wait_for_ever_for_a_database(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OPENING_S", 0.1)
    up = asyncio.Event()

    async def opened(*_: Any, **__: Any) -> MemoryStore:
        await up.wait()
        return MemoryStore()

    monkeypatch.setattr("atlas.runtime.build.open_store", opened)
    client = await serve()
    assert (await client.say(user("Weather?")))["content"] == "It is sunny."
    assert "did not open" in client.opened.sessions.counts().store
    up.set()
    await asyncio.sleep(0.1)
    await client.say(user("Back?"))
    assert (await client.session()).task.prompt == "Back?"


async def test_a_dead_upstream_is_told_in_the_protocols_own_words(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    client = await serve(proxy={"openai_base": dead, "anthropic_base": dead})
    status, raw, _ = await client.post(CHAT, BODY)
    assert (status, json.loads(raw)["error"]["type"]) == (502, "upstream_error")
    status, raw, _ = await client.post("/v1/messages", {"model": "m", "messages": [user("Else?")], "max_tokens": 1})
    assert (status, json.loads(raw)["type"]) == (502, "error")
    first, _ = await client.sessions()
    assert (first.status, first.failure.kind) == ("failed", "ModelUnavailable")


async def test_a_silent_upstream_is_given_up(serve: Serve) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    client = await serve(proxy={"timeout_seconds": 0.3})
    client.upstream.play(silent)
    status, raw, _ = await client.post(CHAT, BODY)
    assert status == 504
    assert "in time" in json.loads(raw)["error"]["message"]
    assert (await client.session()).failure.kind == "ModelTimeout"


async def test_a_slow_upstream_is_waited_for(serve: Serve) -> None:
    client = await serve(proxy={"timeout_seconds": 5})
    pieces = chat_stream("It ", "is ", "slow.")
    client.upstream.play(stream(*pieces, pause_s=0.4))
    _, raw, _ = await client.post(CHAT, BODY | {"stream": True})
    assert raw == b"".join(pieces)
    assert (await client.session()).answer == "It is slow."


async def test_a_stream_that_breaks_off_breaks_off_for_the_client(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(stream(*chat_stream("It ", "is ")[:-1], cut=True))
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.post(CHAT, BODY | {"stream": True})
    session = await client.session()
    assert (session.status, session.failure.kind) == ("failed", "ModelUnavailable")


async def test_a_reply_that_breaks_off_is_no_reply(serve: Serve) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        assert request.transport is not None
        request.transport.abort()
        return response

    client = await serve()
    client.upstream.play(breaks)
    status, raw, _ = await client.post(CHAT, BODY)
    assert (status, json.loads(raw)["error"]["type"]) == (502, "upstream_error")


GARBAGE = {
    "html": b"<html>504 Gateway</html>",
    "nothing": b"",
    "null": b"null",
    "no choice": b'{"choices": []}',
    "numbers": b'{"choices": [{"message": {"content": 5}}], "usage": {"prompt_tokens": -3}}',
    "deep": b"[" * 100_000,
    "binary": bytes(range(256)),
    "hidden error": b'{"error": {"message": "overloaded"}}',
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages"])
async def test_garbage_goes_through_and_is_recorded_as_no_answer(serve: Serve, name: str, path: str) -> None:
    async def garbage(request: web.Request) -> web.StreamResponse:
        return web.Response(body=GARBAGE[name], content_type="application/json")

    client = await serve()
    client.upstream.play(garbage)
    status, raw, _ = await client.post(path, BODY | {"input": "Weather?"})
    assert (status, raw) == (200, GARBAGE[name])
    session = await client.session()
    assert (session.status, session.answer) == ("failed", None)
    assert session.failure.kind in ("ModelBadReply", "ModelUnavailable")


async def test_an_upstream_that_does_not_speak_http(serve: Serve) -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x00\x01SSH-2.0-nothing of the kind\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(noise, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    client = await serve(proxy={"openai_base": base})
    status, _, _ = await client.post(CHAT, BODY)
    assert status == 502
    server.close()
    await server.wait_closed()


async def test_a_stream_that_speaks_of_its_own_end_is_recorded_whole(serve: Serve) -> None:
    client = await serve()
    words = ['say "data: [DONE]"', "\n\ndata: [DONE]\n\n", '"response.completed"', '"message_stop"', " end"]
    pieces = chat_stream(*words)
    client.upstream.play(stream(*pieces, pause_s=0.005))
    assert (await client.post(CHAT, BODY | {"stream": True}))[1] == b"".join(pieces)
    assert (await client.session()).answer == "".join(words)


async def test_a_client_that_leaves_before_the_reply_cancels_the_upstream(serve: Serve) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    client = await serve()
    client.upstream.play(slow)
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.3):
            await client.post(CHAT, BODY)
    async with asyncio.timeout(5):
        while not client.upstream.left:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await client.session()).status == "cancelled"


async def test_a_body_that_is_too_large_is_refused_and_a_large_one_goes_through_unread(serve: Serve) -> None:
    client = await serve(proxy={"max_body_mib": 40})
    large = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"x" * (30 * 2**20) + b'"}]}'
    status, raw, _ = await client.post(CHAT, large)
    assert (status, json.loads(raw)["choices"][0]["message"]["content"]) == (200, "It is sunny.")
    assert len(client.upstream.raws[0]) == len(large)
    assert client.opened.sessions.counts().unrecorded == 1
    status, raw, _ = await client.post(CHAT, large + b" " * (11 * 2**20))
    assert (status, json.loads(raw)["error"]["type"]) == (413, "request_too_large")
    assert len(client.upstream.raws) == 1


async def test_a_large_reply_goes_through_in_bounded_memory(serve: Serve) -> None:
    block = b"y" * 2**20

    async def huge(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(100):
            await response.write(block)
        return response

    import psutil

    client = await serve()
    client.upstream.play(huge)
    size, most = 0, 0
    before = psutil.Process().memory_info().rss
    async with client.http.post(client.url + CHAT, json=BODY) as response:
        async for piece in response.content.iter_any():
            size += len(piece)
            most = max(most, psutil.Process().memory_info().rss)
    assert size == 100 * 2**20
    assert most - before < 80 * 2**20
    assert (await client.session()).failure.kind == "ModelBadReply"


def strange(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value, often with the names that the protocols know."""
    names = ["role", "content", "messages", "tools", "type", "text", "input", "function", "tool_calls", "system", "id"]
    kinds = ["user", "assistant", "tool", "system", "tool_use", "tool_result", "function_call", "\ud800", "\x00", ""]
    match chance.randrange(8 if depth < 4 else 5):
        case 0:
            return chance.choice([None, True, -1, 1e308, 2**70, 0.5])
        case 1 | 2:
            return chance.choice(kinds)
        case 3 | 4:
            return "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(chance.randrange(5)))
        case 5:
            return [strange(chance, depth + 1) for _ in range(chance.randrange(4))]
        case _:
            return {chance.choice(names): strange(chance, depth + 1) for _ in range(chance.randrange(5))}


async def test_strange_requests_and_replies_go_through_unchanged(serve: Serve) -> None:
    """A thousand bodies that no protocol knows: each goes through, and whatever is recorded has an end."""
    chance = random.Random(7)
    client = await serve()
    said: list[bytes] = []

    async def echo(request: web.Request) -> web.StreamResponse:
        said.append(json.dumps(strange(chance)).encode()[: chance.choice([3, 50, 5000])])
        kind = chance.choice(["application/json", "text/event-stream"])
        return web.Response(body=said[-1], content_type=kind, status=chance.choice([200, 200, 400, 500]))

    client.upstream.play(echo)
    paths = (CHAT, "/v1/responses", "/v1/messages")
    for number in range(1000):
        body = strange(chance)
        if chance.random() < 0.7:
            turn = {"role": "user", "content": strange(chance)}
            body = {"model": strange(chance), "messages": [turn, strange(chance)], "input": [strange(chance), turn]}
        sent = json.dumps(body).encode()
        _, raw, _ = await client.post(paths[number % 3], sent)
        assert raw == said[-1]
        assert client.upstream.raws[-1] == sent
        client.upstream.raws.clear()
    assert all(session.status != "running" for session in await client.sessions())
    counts = client.opened.sessions.counts()
    assert counts.recorded > 100
    assert counts.calls == 1000


async def test_what_is_no_http_is_answered_and_survived(serve: Serve) -> None:
    client = await serve()
    for noise in (
        b"\x16\x03\x01\x02",
        b"GET\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\r\n" * 99,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(noise)
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        await writer.wait_closed()
    assert (await client.say(user("Weather?")))["content"] == "It is sunny."


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(serve: Serve) -> None:
    client = await serve()
    async with client.http.post(client.url + CHAT, json=BODY, expect100=True) as response:
        assert response.status == 200
    assert client.upstream.bodies == [BODY]


async def test_a_packed_request_goes_on_unpacked(serve: Serve) -> None:
    client = await serve()
    packed = gzip.compress(json.dumps(BODY).encode())
    status, _, _ = await client.post(CHAT, packed, Content_Encoding="gzip")
    assert status == 200
    assert client.upstream.bodies == [BODY]
    assert "Content-Encoding" not in client.upstream.headers[0]


async def test_a_packed_reply_comes_unpacked(serve: Serve) -> None:
    async def packed(request: web.Request) -> web.StreamResponse:
        body = gzip.compress(json.dumps(chat("Packed.")).encode())
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    client = await serve()
    client.upstream.play(packed)
    assert (await client.say(user("Weather?")))["content"] == "Packed."
    assert (await client.session()).answer == "Packed."


async def test_a_stream_without_its_end_is_no_answer(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(stream(sse(chunk({"content": "It is"}), done=False)))
    assert (await client.post(CHAT, BODY | {"stream": True}))[0] == 200
    assert (await client.session()).failure.kind == "ModelUnavailable"
