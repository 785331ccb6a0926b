"""What the tests of models share: a server with faults, a clock that only sleeping moves, a trace in memory."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from atlas.models import Pace, Place
from atlas.schema import Event, Message, Request, now
from atlas.schema.events import Body

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PLACE = Place(actor="student", purpose="answer")
SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared"))
"""Peers and recorded data beside the repository; tests that need them skip, loudly, where they are not."""


def said(text: str, **more: Any) -> dict[str, Any]:
    """The body of an ordinary reply."""
    return {
        "model": "served",
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
    } | more


def reply(body: Any, status: int = 200, **headers: str) -> Handler:
    """Answer with JSON, or with text as it is."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def handle(request: web.Request) -> web.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, content_type="application/json", headers=names)

    return handle


def stream(*pieces: bytes, pause_s: float = 0.0, cut: bool = False) -> Handler:
    """Answer with server-sent events, byte for byte; `cut` ends the connection in the middle."""

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


async def reset(request: web.Request) -> web.StreamResponse:
    """End the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass
class FaultServer:
    """Plays its handlers in order, the last one for ever, and keeps what it was sent."""

    url: str = ""
    handlers: list[Handler] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def play(self, *handlers: Handler) -> None:
        self.handlers[:] = handlers

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.json())
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        return await handler(request)


@dataclass
class Sleeper:
    """A clock that only sleeping moves, and no real time passes."""

    now_s: float = 0.0
    pauses: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds

    @property
    def pace(self) -> Pace:
        return Pace(clock=lambda: self.now_s, sleep=self.sleep, random=lambda: 0.0)


class MemoryTrace:
    """A trace that keeps everything and proves that it could be stored."""

    session_id = "0190-session"

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, body: Body) -> Event:
        event = Event(session_id=self.session_id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(Event.model_validate_json(event.model_dump_json()))
        return event

    @property
    def types(self) -> list[str]:
        return [event.body.type for event in self.events]


def ask(text: str = "What is 6 x 7?", **fields: Any) -> Request:
    """A request of one user message."""
    return Request(messages=(Message(role="user", content=text),), **fields)
