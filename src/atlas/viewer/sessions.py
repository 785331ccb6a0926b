"""The list of sessions, and the stream of its newest rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from atlas.schema.errors import StoreError
from atlas.store.browse import Browser
from atlas.store.browsed import Filters, ListedSession, Tally
from atlas.store.mark import Mark
from atlas.viewer.rendering import Page, environment
from atlas.viewer.server import answer, mark_of

PAGE = 50
"""Sessions of one page."""
LIVE_EVERY_S = 1.0
"""How often a live list looks for news."""
RETRY_MS = 2000
"""How long a browser waits before it asks for a broken stream again."""
STATUSES = ("running", "succeeded", "failed", "cancelled", "interrupted")
REVIEWS = ("pending", "approved", "quarantined")


class SessionList(Page):
    """Sessions that pass the filters, newest first."""

    template = "sessions.html"
    filters: Filters
    """What was asked for."""
    rows: tuple[ListedSession, ...]
    """One page of them."""
    below: str | None
    """The mark of the next page; None on the last one."""
    first: bool
    """Whether this is the newest page, which is live."""
    tally: Tally
    """How many there are."""


class Sessions:
    """Pages about all sessions."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def routes(self) -> list[web.RouteDef]:
        """See `Room.routes`."""
        return [web.get("/sessions", self._list), web.get("/live/sessions", self._live)]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        filters, below = asked(request), request.query.get("below")
        found = await self._browser.sessions(filters, below=mark_of(request), limit=PAGE + 1)
        rows = tuple(found[:PAGE])
        last = str(Mark(at=rows[-1].created_at, uid=rows[-1].id)) if len(found) > PAGE else None  # pyright: ignore
        page = SessionList(
            filters=filters, rows=rows, below=last, first=below is None, tally=await self._browser.tally()
        )
        return answer(request, page)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the newest page's rows, whenever one of them is new or another than before."""
        filters = asked(request)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await stream.prepare(request)
        await stream.write(f"retry: {RETRY_MS}\n\n".encode())
        with suppress(ConnectionResetError):  # The reader left, which shows when the next line is written.
            async for message in self._news(filters):
                await stream.write(message)
        return stream

    async def _news(self, filters: Filters) -> AsyncIterator[bytes]:
        sent: dict[str, str] = {}
        while True:
            try:
                rows = await self._browser.sessions(filters, limit=PAGE)
            except StoreError:  # The page says so when it is loaded again; the stream goes on when the store is back.
                yield b": the store does not answer\n\n"
            else:
                drawn = {row.id: drawn_row(row) for row in rows}
                if drawn != sent:
                    changed = [
                        {"id": row.id, "html": drawn[row.id]} for row in rows if sent.get(row.id) != drawn[row.id]
                    ]
                    yield b"event: rows\ndata: " + json.dumps(changed).encode() + b"\n\n"
                    sent = drawn
                else:
                    yield b": \n\n"
            await asyncio.sleep(LIVE_EVERY_S)


def drawn_row(row: ListedSession) -> str:
    """A row of the list as HTML."""
    module = environment().get_template("row.html").module
    return str(module.session_row(row))  # pyright: ignore


def asked(request: web.Request) -> Filters:
    """The filters in an address; an empty field asks nothing."""
    given = {name: value for name, value in request.query.items() if value and name in Filters.model_fields}
    return Filters.model_validate(given)
