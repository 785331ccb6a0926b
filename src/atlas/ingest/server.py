"""The receiver: OTLP over HTTP, `POST /v1/traces`, protobuf or JSON, compressed or not."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from atlas.ingest.base import Busy, Reply
from atlas.ingest.otlp_json import read_json
from atlas.ingest.otlp_proto import proto_response, proto_status, read_proto
from atlas.ingest.spans import Delivery, Unreadable
from atlas.ingest.unpacking import WINDOWS, TooLarge, unpacked
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import web

    from atlas.ingest.assembly import Ingest

MOST_BYTES = 64 * 1024 * 1024
"""Size of a request's body once it is unpacked; a larger one is answered with 413."""
READERS = 2
"""Bodies that are read at the same time; each may take several times its size in memory."""
RETRY_AFTER_S = 5
JSON, PROTOBUF = "application/json", "application/x-protobuf"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger("atlas.ingest")
Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


class Receiver:
    """The HTTP side of an `Ingest`."""

    def __init__(self, ingest: Ingest, *, token: str | None = None, most_bytes: int = MOST_BYTES) -> None:
        """With a token, requests without `Authorization: Bearer TOKEN` are refused."""
        self._ingest = ingest
        self._token = token
        self._most_bytes = most_bytes
        self._readers = asyncio.Semaphore(READERS)
        self._runner: web.AppRunner | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; gives the port, which is a free one for port 0.

        Raises:
            ConfigError: the address is taken, or is open to the network without a token.
        """
        from aiohttp import web

        if self._token is None and host not in LOOPBACK:
            raise ConfigError(f"{host} is open to the network.", "Set a token, or listen on 127.0.0.1.")
        self._runner = web.AppRunner(self.app(), access_log=None, handle_signals=False, auto_decompress=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise ConfigError(f"Port {port} of {host} cannot be listened on ({error}).", "Give --port.") from error
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Finish the requests that are under way, and stop."""
        if self._runner is not None:
            await self._runner.cleanup()

    def app(self) -> web.Application:
        """The application, for a server of one's own."""
        from aiohttp import web

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(client_max_size=self._most_bytes, middlewares=[guard])
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_get("/status", self._status)
        return app

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for the token, and give every refusal the protocol's own body."""
        from aiohttp import web

        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if self._token is not None and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return _refusal(request, 401, "the token is missing or wrong")
        try:
            return await handler(request)
        except (web.HTTPRequestEntityTooLarge, TooLarge):
            return _refusal(request, 413, f"the body has more than {self._most_bytes} bytes")
        except web.HTTPException as error:
            return _refusal(request, error.status, error.reason)
        except Busy as error:
            return _refusal(request, 503, str(error))
        except Unreadable as error:
            return _refusal(request, 400, str(error))
        except ConfigError as error:
            return _refusal(request, 415, str(error))

    async def _traces(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        if request.content_type not in (JSON, PROTOBUF):
            return _refusal(request, 415, f"the body must be {PROTOBUF} or {JSON}")
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", *WINDOWS):
            return _refusal(request, 415, f"the body must be packed with gzip or deflate, not {encoding[:40]}")
        if (request.content_length or 0) > self._most_bytes:
            raise web.HTTPRequestEntityTooLarge(self._most_bytes, request.content_length or 0)
        packed = await _body(request)
        async with self._readers:
            delivery, size = await asyncio.to_thread(self._read, packed, encoding, request.content_type)
        return _accepted(request, await self._ingest.take(delivery, size=size))

    def _read(self, packed: bytes, encoding: str, content_type: str) -> tuple[Delivery, int]:
        body = unpacked(packed, encoding, most_bytes=self._most_bytes)
        return (read_json if content_type == JSON else read_proto)(body), len(body)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        return web.json_response(self._ingest.taken().model_dump())


async def _body(request: web.Request) -> bytes:
    """The body as it came.

    Raises:
        Unreadable: it broke off.
    """
    from aiohttp import web

    try:
        return await request.read()
    except (web.RequestPayloadError, OSError) as error:
        raise Unreadable("the body broke off") from error


def _accepted(request: web.Request, reply: Reply) -> web.Response:
    from aiohttp import web

    if request.content_type == PROTOBUF:
        return web.Response(body=proto_response(reply.refused, reply.reason), content_type=PROTOBUF)
    partial = {"rejectedSpans": str(reply.refused), "errorMessage": reply.reason}
    return web.json_response({"partialSuccess": partial} if reply.refused else {})


def _refusal(request: web.Request, status: int, message: str) -> web.Response:
    from aiohttp import web

    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if request.content_type == PROTOBUF:
        return web.Response(body=proto_status(message), content_type=PROTOBUF, status=status, headers=headers)
    body = json.dumps({"message": message})
    return web.Response(text=body, content_type=JSON, status=status, headers=headers)
