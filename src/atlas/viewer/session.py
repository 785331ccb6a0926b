"""Pages about one session: what was said, what was tried, what judges said, what it cost, what it taught."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from atlas.schema.errors import AtlasError
from atlas.store.browse import Browser
from atlas.store.browsed import SeenEvent, SessionHead, Spent
from atlas.store.review import Decision, ReviewDesk
from atlas.store.shelf import Learnt, Shelf
from atlas.viewer.rendering import Page, environment
from atlas.viewer.server import Refusal, answer
from atlas.viewer.sessions import LIVE_EVERY_S, RETRY_MS
from atlas.viewer.story import Moment, told
from atlas.viewer.work import JUDGEMENT, WORK, Judgement, Memory, Work, bodies, judgement_of, memory_of, work_of

WINDOW = 60
"""Events of one page."""
BEGINNING = 40
"""Events among which a session's memory, dossier and route are found."""
WORK_EVENTS = 400
"""Attempts, reviews and plans that are laid side by side on one page."""


class SessionPage(Page):
    """What every page about a session shows."""

    template = ""
    tab: str
    """Which page it is."""
    head: SessionHead
    """The session."""


class Conversation(SessionPage):
    """The conversation as it was."""

    template = "conversation.html"
    tab: str = "conversation"
    """Which page it is."""
    moments: tuple[Moment, ...]
    """One window of it."""
    after: int
    """The event before the window."""
    last: int
    """The last event in it."""
    window: int = WINDOW
    """Events of one window."""


class Attempts(SessionPage):
    """Plan, steps and attempts."""

    template = "attempts.html"
    tab: str = "attempts"
    """Which page it is."""
    work: Work
    """What the student did."""
    complete: bool
    """Whether these are all attempts."""


class Judged(SessionPage):
    """Verdicts and reward."""

    template = "judged.html"
    tab: str = "judgement"
    """Which page it is."""
    judgement: Judgement
    """What the judges said."""


class Remembered(SessionPage):
    """What was injected, and what was learnt."""

    template = "remembered.html"
    tab: str = "memory"
    """Which page it is."""
    memory: Memory
    """What it saw."""
    learnt: Learnt
    """What was learnt from it."""


class Used(SessionPage):
    """Tokens, money and time."""

    template = "used.html"
    tab: str = "cost"
    """Which page it is."""
    spent: tuple[Spent, ...]
    """By role and purpose."""


class Events(SessionPage):
    """The raw events."""

    template = "events.html"
    tab: str = "events"
    """Which page it is."""
    events: tuple[SeenEvent, ...]
    """One window of them."""
    after: int
    """The event before the window."""
    last: int
    """The last event in it."""
    window: int = WINDOW
    """Events of one window."""


class OneEvent(SessionPage):
    """One raw event, whole."""

    template = "event.html"
    tab: str = "events"
    """Which page it is."""
    event: SeenEvent
    """The event."""


class Trail(SessionPage):
    """Who decided what."""

    template = "trail.html"
    tab: str = "review"
    """Which page it is."""
    trail: tuple[Decision, ...]
    """Oldest first."""
    hash: str
    """SHA-256 over its events as stored: a decision on this page is about this content."""


class OneSession:
    """Pages about one session."""

    def __init__(self, browser: Browser, shelf: Shelf, desk: ReviewDesk) -> None:
        self._browser = browser
        self._shelf = shelf
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """See `Room.routes`."""
        one = "/sessions/{id}"
        return [
            web.get(one, self._conversation),
            web.get(f"{one}/attempts", self._attempts),
            web.get(f"{one}/judgement", self._judgement),
            web.get(f"{one}/memory", self._memory),
            web.get(f"{one}/cost", self._cost),
            web.get(f"{one}/review", self._review),
            web.get(f"{one}/events", self._events),
            web.get(f"{one}/events/{{seq:[0-9]{{1,9}}}}", self._event),
            web.get(f"/live{one}", self._live),
        ]

    async def _conversation(self, request: web.Request) -> web.StreamResponse:
        head, after = await self.head(request), after_of(request)
        events = await self._browser.window(_uid(head), after=after, limit=WINDOW)
        last = events[-1].seq if events else after
        return answer(request, Conversation(head=head, moments=told(events), after=after, last=last))

    async def _attempts(self, request: web.Request) -> web.StreamResponse:
        head = await self.head(request)
        events = await self._browser.window(_uid(head), limit=WORK_EVENTS, types=WORK)
        work = work_of(bodies(events))
        return answer(request, Attempts(head=head, work=work, complete=len(events) < WORK_EVENTS))

    async def _judgement(self, request: web.Request) -> web.StreamResponse:
        head = await self.head(request)
        events = await self._browser.window(_uid(head), types=JUDGEMENT)
        return answer(request, Judged(head=head, judgement=judgement_of(bodies(events))))

    async def _memory(self, request: web.Request) -> web.StreamResponse:
        head = await self.head(request)
        events = await self._browser.window(_uid(head), until=BEGINNING, types=("memory_recalled",))
        learnt = await self._shelf.learnt_from(_uid(head), tenant=head.tenant, key=head.key)
        return answer(request, Remembered(head=head, memory=memory_of(bodies(events)), learnt=learnt))

    async def _cost(self, request: web.Request) -> web.StreamResponse:
        head = await self.head(request)
        return answer(request, Used(head=head, spent=tuple(await self._browser.usage(_uid(head)))))

    async def _review(self, request: web.Request) -> web.StreamResponse:
        seen = await self._desk.content(_uid(await self.head(request)))
        head = await self.head(request)  # After the hash: what came between is not approved by it.
        return answer(request, Trail(head=head, trail=tuple(await self._desk.trail(head.id)), hash=seen))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        head, after = await self.head(request), after_of(request)
        events = await self._browser.window(_uid(head), after=after, limit=WINDOW)
        last = events[-1].seq if events else after
        return answer(request, Events(head=head, events=tuple(events), after=after, last=last))

    async def _event(self, request: web.Request) -> web.StreamResponse:
        head = await self.head(request)
        event = await self._browser.event(_uid(head), int(request.match_info["seq"]))
        if event is None:
            raise Refusal(404, "This session has no such event.")
        return answer(request, OneEvent(head=head, event=event))

    async def head(self, request: web.Request) -> SessionHead:
        """The session in the address."""
        return await self._browser.session(request.match_info["id"])

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: what happens in a running session after an event, then that it ended."""
        uid, after = _uid(await self.head(request)), after_of(request)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await stream.prepare(request)
        await stream.write(f"retry: {RETRY_MS}\n\n".encode())
        with suppress(ConnectionResetError, AtlasError):  # The reader left, or comes again when the store is back.
            async for message in self._news(uid, after):
                await stream.write(message)
        return stream

    async def _news(self, uid: uuid.UUID, after: int) -> AsyncIterator[bytes]:
        while True:
            head = await self._browser.session(str(uid))
            events = await self._browser.window(uid, after=after, limit=WINDOW)
            if events:
                after = events[-1].seq
                yield f"event: moments\nid: {after}\ndata: {json.dumps(drawn(told(events), uid))}\n\n".encode()
            elif head.status != "running":
                yield b"event: ended\ndata: {}\n\n"
                return
            else:
                yield b": \n\n"
            await asyncio.sleep(LIVE_EVERY_S)


def drawn(moments: tuple[Moment, ...], uid: uuid.UUID) -> str:
    """Moments as HTML."""
    module = environment().get_template("moment.html").module
    return "".join(str(module.moment_item(moment, str(uid))) for moment in moments)  # pyright: ignore


def after_of(request: web.Request) -> int:
    """The event after which a window begins: of a stream that broke, what the browser has."""
    given = request.headers.get("Last-Event-ID") or request.query.get("after") or "0"
    if not given.isdecimal() or len(given) > 9:
        raise Refusal(400, "The number of an event is needed after `after`.")
    return int(given)


def _uid(head: SessionHead) -> uuid.UUID:
    return uuid.UUID(head.id)
