"""The proxy's HTTP side: who may come in, what is passed on, and what is looked at on the way."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from atlas.proxy.anthropic import Messages
from atlas.proxy.base import Dialect
from atlas.proxy.chat import Chat
from atlas.proxy.delivery import refused
from atlas.proxy.passage import Passage
from atlas.proxy.responses import Responses
from atlas.proxy.upstream import Upstream
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import StreamReader, web
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage
    from aiohttp.web_protocol import RequestHandler

    from atlas.proxy.sessions import Sessions

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TOKEN_PATH = "/t/"
TOKEN_HEADER = "X-Atlas-Token"
DIALECTS: dict[str, Dialect] = {
    "/v1/chat/completions": Chat(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
}
NOT_ADMITTED = "The proxy's token is missing or wrong, or a web page calls."
GRACE_S = 5.0
"""How long calls under way may take at the end."""

log = logging.getLogger("atlas.proxy")


class Providers(NamedTuple):
    """The two upstreams."""

    openai: Upstream
    """For every path but Anthropic's."""
    anthropic: Upstream
    """For `/v1/messages`, and for clients that speak of an `anthropic-version`."""


class Proxy:
    """Listens, checks the token, and hands each call to its passage."""

    def __init__(
        self, providers: Providers, passage: Passage, sessions: Sessions, *, token: str | None, most_bytes: int
    ) -> None:
        """Without a token everybody who reaches the port may call."""
        self._providers = providers
        self._passage = passage
        self._sessions = sessions
        self._token = token
        self._most_bytes = most_bytes
        self._runner: web.ServerRunner | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; gives the port, which is a free one for port 0.

        Raises:
            ConfigError: the address is taken, or is open to the network without a token.
        """
        from aiohttp import web

        if self._token is None and host not in LOOPBACK:
            raise ConfigError(f"{host} is open to the network.", "Leave out --no-token, or listen on 127.0.0.1.")
        server = web.Server(
            self._handle, request_factory=self._request, handler_cancellation=True, access_log=None
        )  # an access log would tell the token, which stands in the path
        self._runner = web.ServerRunner(server, shutdown_timeout=GRACE_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, reuse_address=True).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise ConfigError(f"Port {port} of {host} cannot be listened on ({error}).", "Give --port.") from error
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Finish the calls that are under way, within some seconds, and stop."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        from aiohttp import web

        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._most_bytes)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web

        path = self._admitted(request)
        dialect = DIALECTS.get((path or "").partition("?")[0]) if request.method == "POST" else None
        if path is None:
            return refused(
                dialect, 401, "authentication_error", "The proxy's token is missing or wrong, or this is a web page."
            )
        if path == "/atlas/status":
            return web.json_response(self._sessions.counts().model_dump())
        if not path.startswith("/v1/"):
            return refused(dialect, 404, "not_found_error", "The proxy serves /v1/… only.")
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            most = f"The body has more than {self._most_bytes} bytes."
            return refused(dialect, 413, "request_too_large", most)
        except (web.RequestPayloadError, OSError):
            return refused(dialect, 400, "invalid_request_error", "The body broke off.")
        upstream = self._upstream(path, request.headers)
        rest = path.removeprefix("/v1")
        if dialect is None:
            return await self._passage.through(request, upstream, rest, raw)
        return await self._passage.call(request, upstream, rest, raw, dialect)

    def _admitted(self, request: web.BaseRequest) -> str | None:
        """The path behind the token, with its query; None where the token is missing or wrong."""
        path = request.raw_path
        if self._token is None:  # a web page may call this machine too, but not under its name, nor without an origin
            host = request.headers.get("Host", "")
            is_here = host.partition(":")[0] in LOOPBACK or host.startswith("[::1]")
            return path if is_here and "Origin" not in request.headers else None
        if path.startswith(TOKEN_PATH):
            given, _, rest = path.removeprefix(TOKEN_PATH).partition("/")
            return "/" + rest if self._fits(given) else None
        headers = request.headers
        given = headers.get(TOKEN_HEADER) or headers.get("x-api-key") or headers.get("Authorization", "")
        return path if self._fits(given.removeprefix("Bearer ")) else None

    def _fits(self, given: str) -> bool:
        raw = given.encode("utf-8", "surrogateescape")
        return self._token is not None and hmac.compare_digest(raw, self._token.encode())

    def _upstream(self, path: str, headers: Mapping[str, str]) -> Upstream:
        is_anthropic = path.startswith("/v1/messages") or "anthropic-version" in headers
        return self._providers.anthropic if is_anthropic else self._providers.openai
