"""Handing an upstream's reply to the client: whole, or piece by piece as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from atlas.models.http import MAX_REPLY_BYTES
from atlas.models.text import one_line
from atlas.proxy.base import Dialect
from atlas.proxy.calls import SESSION, Reply
from atlas.proxy.chat import Chat
from atlas.proxy.flight import Flight
from atlas.proxy.upstream import returned

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web

AT_ONCE = 2**20
"""A reply up to this size, in bytes, that does not stream is handed on whole."""
EVENTS = "text/event-stream"


class Broken(Exception):
    """The upstream broke off; `begun` is what the client has of the response already."""

    def __init__(self, message: str, begun: web.StreamResponse | None = None) -> None:
        super().__init__(message)
        self.begun = begun


def streams(response: aiohttp.ClientResponse) -> bool:
    """Whether the reply is an event stream."""
    return response.content_type == EVENTS


def most_held(held: bool) -> int:
    """Bytes of a reply that are collected before it is handed on."""
    return MAX_REPLY_BYTES if held else AT_ONCE


async def collect(response: aiohttp.ClientResponse, flight: Flight, *, most: int) -> bool:
    """Gather the body in the flight; False where it is longer than `most` bytes and the rest is still to come.

    Raises:
        Broken: the upstream broke off.
    """
    size = 0
    if (response.content_length or 0) > most:
        return False
    async for piece in _read(response, None):
        flight.keep(piece)
        flight.gathered.append(piece)
        size += len(piece)
        if size > most:
            return False
    return True


def whole(response: aiohttp.ClientResponse, reply: Reply, session: str | None) -> web.Response:
    """A reply that is known to its end."""
    from aiohttp import web

    headers = returned(response)
    if session is not None:
        headers[SESSION] = session
    return web.Response(status=reply.status, reason=response.reason, headers=headers, body=reply.raw)


async def begin(request: web.BaseRequest, response: aiohttp.ClientResponse, session: str | None) -> web.StreamResponse:
    """Status and headers of a reply that comes piece by piece."""
    from aiohttp import web

    headers = returned(response)
    if session is not None:
        headers[SESSION] = session
    begun = web.StreamResponse(status=response.status, reason=response.reason, headers=headers)
    await begun.prepare(request)
    return begun


async def pieces(
    begun: web.StreamResponse,
    response: aiohttp.ClientResponse,
    flight: Flight,
    before: Callable[[bytes], Awaitable[None]],
) -> None:
    """Hand on what was gathered and every further piece as it comes; `before` sees each one first.

    Raises:
        Broken: the upstream broke off.
        ConnectionError: the client left.
    """
    for piece in flight.gathered:
        await begun.write(piece)
    async for piece in _read(response, begun):
        flight.keep(piece)
        await before(piece)
        await begun.write(piece)


def cut(request: web.BaseRequest) -> None:
    """End the client's connection, so that it does not take a broken reply for a whole one."""
    if request.transport is not None:
        request.transport.abort()


def refused(
    dialect: Dialect | None, status: int, kind: str, message: str, *, session: str | None = None
) -> web.Response:
    """An error of the proxy's own. A spent budget is not worth a retry; the SDKs are told so."""
    from aiohttp import web

    body = json.dumps((dialect or Chat()).refusal(status, kind, message))
    headers = {SESSION: session} if session else {}
    if status == 429:
        headers["X-Should-Retry"] = "false"
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)


async def _read(response: aiohttp.ClientResponse, begun: web.StreamResponse | None) -> AsyncIterator[bytes]:
    import aiohttp

    try:
        async for piece in response.content.iter_any():
            yield piece
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        why = one_line(str(error) or type(error).__name__, 200)
        raise Broken(f"{response.host} broke off in the middle of a reply: {why}.", begun) from None
