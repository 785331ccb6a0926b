"""The review queue: sessions that wait for a person's word, decided one by one or many at once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import get_args

from aiohttp import web
from pydantic import ValidationError

from atlas.schema import Noun
from atlas.schema.errors import ConfigError, StaleVersion
from atlas.store.base import ReviewStatus
from atlas.store.boundary import Safety, safety_of
from atlas.store.mark import Mark
from atlas.store.review import Queued, ReviewDesk, Seen, Standing
from atlas.viewer.rendering import Page
from atlas.viewer.server import Refusal, answer, fields, mark_of, see_other, wants_json

PAGE = 20
"""Sessions of one page of the queue."""
AT_ONCE = 200
"""Sessions that one decision may be about."""
NOTE_CHARS = 2000


class Waiting(Noun):
    """A session of the queue, and what a decision about it is bound to."""

    session: Queued
    """The session."""
    seen: str | None
    """What the form sends back; None where the session has its own page for it."""


class Queue(Page):
    """Sessions that wait."""

    template = "review.html"
    review: ReviewStatus
    """Of which this was decided."""
    key: str | None
    """Only of this key."""
    alarms: bool
    """Only those that raised an alarm."""
    waiting: tuple[Waiting, ...]
    """One page of them."""
    below: str | None
    """The mark of the next page; None on the last one."""


class Result(Noun):
    """What became of one decision."""

    session: str
    """About which session."""
    done: bool
    """Whether it was recorded."""
    problem: str = ""
    """Why not."""
    undo: str = ""
    """What takes it back."""


class Decided(Page):
    """What became of a decision."""

    template = "decided.html"
    decision: ReviewStatus
    """What was decided."""
    before: ReviewStatus
    """What taking it back makes of the sessions."""
    back: str
    """The page it came from."""
    results: tuple[Result, ...]
    """For each session."""

    @property
    def http_status(self) -> int:
        """See `Page.http_status`: a conflict where one of them was not recorded."""
        return 200 if all(result.done for result in self.results) else 409


class ReviewRoom:
    """Pages of the review queue."""

    def __init__(self, desk: ReviewDesk, *, who: str, safety: Safety | None = None) -> None:
        self._desk = desk
        self._who = who
        self._clean = (safety or safety_of()).boundary

    def routes(self) -> list[web.RouteDef]:
        """See `Room.routes`."""
        return [web.get("/review", self._queue), web.post("/review/decide", self._decide)]

    async def _queue(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        review, key, alarms = (
            _status(asked.get("review") or "pending"),
            asked.get("key") or None,
            bool(asked.get("alarms")),
        )
        found = await self._desk.queue(review, key=key, alarms=alarms, below=mark_of(request), limit=PAGE + 1)
        rows = found[:PAGE]
        more = str(Mark(at=rows[-1].created_at, uid=uuid.UUID(rows[-1].id))) if len(found) > PAGE else None
        waiting = tuple(Waiting(session=row, seen=seen_text(row)) for row in rows)
        return answer(request, Queue(review=review, key=key, alarms=alarms, waiting=waiting, below=more))

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        form = await fields(request)
        given = form.getall("seen", [])
        if not given or len(given) > AT_ONCE:
            raise Refusal(400, f"Select between 1 and {AT_ONCE} sessions.")
        decision, note = _status(form.get("decision", "")), form.get("note", "")[:NOTE_CHARS].strip()
        seen = [parsed(text) for text in given]
        said = self._clean.text(note) if note else None
        results = [await self._one(one, decision, said) for one in seen]
        page = Decided(
            decision=decision,
            before=seen[0].standing.review,
            back=form.get("back", "/review"),
            results=tuple(results),
        )
        if len(results) == 1 and results[0].done and not wants_json(request):
            return see_other(page.back)
        return answer(request, page)

    async def _one(self, seen: Seen, decision: ReviewStatus, note: str | None) -> Result:
        try:
            standing = await self._desk.decide_as_seen(seen, decision, who=self._who, note=note)
        except (StaleVersion, ConfigError) as error:
            return Result(session=str(seen.session), done=False, problem=str(error))
        undo = _text(seen.session, seen.hash, standing)
        return Result(session=str(seen.session), done=True, undo=undo)


def seen_text(session: Queued) -> str | None:
    """What a form sends back about a session, so that the decision is about what was shown."""
    if session.hash is None:
        return None
    return _text(uuid.UUID(session.id), session.hash, Standing(review=session.review, at=session.review_at))


def parsed(text: str) -> Seen:
    """What `seen_text` gave.

    Raises:
        Refusal: it is something else.
    """
    parts: Sequence[str] = text.split(" ")
    try:
        session, digest, review, at = parts
        moment = None if at == "-" else datetime.fromisoformat(at)
        standing = Standing.model_validate({"review": review, "at": moment})
        return Seen(session=uuid.UUID(session), hash=digest, standing=standing)
    except (ValueError, ValidationError):
        raise Refusal(400, "This decision does not say what was seen.", "Load the page again.") from None


def _text(session: uuid.UUID, digest: str, standing: Standing) -> str:
    return f"{session} {digest} {standing.review} {standing.at.isoformat() if standing.at else '-'}"


def _status(word: str) -> ReviewStatus:
    for known in get_args(ReviewStatus):
        if word == known:
            return known
    raise Refusal(400, f"There is no review status {word[:40]!r}.")
