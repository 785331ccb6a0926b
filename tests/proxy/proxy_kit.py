"""An upstream that speaks three protocols and can misbehave, and a proxy before it on a real port."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from atlas.proxy import OpenProxy
from atlas.schema import Event, Session
from atlas.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOKEN = "a-token-of-the-tests"


def chat(text: str | None = "It is sunny.", *calls: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """A chat completion; each call is (id, name, arguments)."""
    said: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        said["tool_calls"] = [
            {"id": name, "type": "function", "function": {"name": tool, "arguments": arguments}}
            for name, tool, arguments in calls
        ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    } | more


def sse(*pieces: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(piece)}\n\n" for piece in pieces]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": [choice]}


def chat_stream(*words: str) -> list[bytes]:
    first = sse(chunk({"role": "assistant", "content": ""}), done=False)
    last = sse(chunk({}, "stop"))
    return [first, *(sse(chunk({"content": word}), done=False) for word in words), last]


def reply(body: Any, status: int = 200, **headers: str) -> Handler:
    text = body if isinstance(body, str) else json.dumps(body)

    async def handle(request: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, content_type="application/json", headers=named)

    return handle


def stream(*pieces: bytes, pause_s: float = 0.0, cut: bool = False) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause_s)
        if cut:
            assert request.transport is not None
            request.transport.abort()
        return response

    return handle


@dataclass
class Upstream:
    """Plays its handlers in order, the last one for ever, and keeps what it was sent."""

    url: str = ""
    handlers: list[Handler] = field(default_factory=lambda: [reply(chat())])
    raws: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0

    def play(self, *handlers: Handler) -> None:
        self.handlers[:] = handlers

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(raw) for raw in self.raws]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        self.headers.append(dict(request.headers))
        self.raws.append(await request.read())
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        try:
            return await handler(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left += 1
            raise


@dataclass
class Client:
    """Calls one proxy and looks into its store."""

    opened: OpenProxy
    port: int
    http: aiohttp.ClientSession
    upstream: Upstream
    token: str | None = TOKEN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}" + (f"/t/{self.token}" if self.token else "")

    @property
    def store(self) -> Store:
        runtime = self.opened.sessions._runtime
        assert runtime is not None
        return runtime.store

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, bytes, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": "application/json"} | {name.replace("_", "-"): headers[name] for name in headers}
        async with self.http.post(self.url + path, data=io.BytesIO(raw), headers=named) as response:
            return response.status, await response.read(), response.headers

    async def say(self, *messages: dict[str, Any], path: str = "/v1/chat/completions", **more: Any) -> dict[str, Any]:
        """A chat call; the reply's message."""
        headers = more.pop("headers", {})
        status, raw, _ = await self.post(path, {"model": "gpt-x", "messages": messages} | more, **headers)
        assert status == 200, raw
        return json.loads(raw)["choices"][0]["message"]

    async def sessions(self) -> list[Session]:
        """Every session, once all are over, judged and learnt from; oldest first."""
        await self.opened.sessions.settle()
        await self.store.flush()
        found = [await self.store.session(row.id) async for row in self.store.sessions()]
        return sorted((session for session in found if session is not None), key=lambda session: session.id)

    async def session(self) -> Session:
        (session,) = await self.sessions()
        return session

    async def events(self, session: Session | None = None) -> list[Event]:
        return await self.store.events((session or await self.session()).id)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}
