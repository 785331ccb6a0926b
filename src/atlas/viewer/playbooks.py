"""Pages of playbooks: the shelf, one book with its history, rollback, and lessons that wait for a person's word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args
from urllib.parse import urlencode

from aiohttp import web

from atlas.memory import next_version, reviewed, rolled_back
from atlas.schema import Audience, Entry, Noun, Playbook
from atlas.schema.errors import StaleVersion
from atlas.store.shelf import Book, Deed, Done, Lesson, Move, Shelf, Version
from atlas.viewer.books import EntryChange, ReadEntry, changes, read, read_entries, said_hash
from atlas.viewer.rendering import Page
from atlas.viewer.server import Refusal, answer, fields, see_other

TRIES = 5
"""How often a decision is tried again when another version of the playbook came first."""
NOTE_CHARS = 2000


class Which(Noun):
    """Which playbook."""

    tenant: str
    """Its owner."""
    key: str
    """Its learning key."""
    audience: Audience
    """Who reads it."""

    @property
    def address(self) -> str:
        """Its page."""
        return f"/playbook?{urlencode(self.model_dump(), errors='surrogatepass')}"


class Books(Page):
    """Every playbook."""

    template = "playbooks.html"
    books: tuple[Book, ...]
    """Newest first."""
    candidates: int
    """Lessons that wait for a person's word."""


class OneBook(Page):
    """One playbook."""

    template = "playbook.html"
    which: Which
    """Which."""
    book: Playbook
    """The version that is looked at."""
    newest: int
    """Number of the newest version."""
    entries: tuple[ReadEntry, ...]
    """Its lessons."""
    against: int
    """The version it is compared with; 0 is the empty playbook."""
    changes: tuple[EntryChange, ...]
    """What changed since then."""
    versions: tuple[Version, ...]
    """The newest ones."""
    moves: tuple[Move, ...]
    """What happened to its lessons, newest first."""
    trail: tuple[Done, ...]
    """What people did to it, newest first."""


class WaitingLesson(Noun):
    """A lesson that waits."""

    lesson: Lesson
    """The lesson with its playbook."""
    read: ReadEntry
    """What is known about it."""


class LessonQueue(Page):
    """Lessons that wait for a person's word."""

    template = "lessons.html"
    waiting: tuple[WaitingLesson, ...]
    """Those of the newest playbooks first."""


class Playbooks:
    """Pages of playbooks."""

    def __init__(self, shelf: Shelf, *, who: str) -> None:
        self._shelf = shelf
        self._who = who

    def routes(self) -> list[web.RouteDef]:
        """See `Room.routes`."""
        return [
            web.get("/playbooks", self._books),
            web.get("/playbook", self._book),
            web.post("/playbook/rollback", self._rollback),
            web.get("/review/lessons", self._lessons),
            web.post("/review/lessons/decide", self._decide),
        ]

    async def _books(self, request: web.Request) -> web.StreamResponse:
        books = await self._shelf.books()
        waiting = sum(book.states.get("candidate", 0) for book in books)
        return answer(request, Books(books=tuple(books), candidates=waiting))

    async def _book(self, request: web.Request) -> web.StreamResponse:
        which = Which.model_validate({name: request.query.get(name) for name in Which.model_fields})
        where = (which.tenant, which.key, which.audience)
        newest = await self._found(which)
        book = await self._found(which, _version(request, "version"))
        against = _version(request, "against")
        older = book.version - 1 if against is None else against
        before = await self._found(which, older) if older else book.model_copy(update={"version": 0, "entries": ()})
        moves = await self._shelf.moves(*where)
        page = OneBook(
            which=which,
            book=book,
            newest=newest.version,
            entries=read_entries(book, moves),
            against=older,
            changes=changes(before, book),
            versions=tuple(await self._shelf.versions(*where)),
            moves=tuple(moves),
            trail=tuple(await self._shelf.trail(*where)),
        )
        return answer(request, page)

    async def _rollback(self, request: web.Request) -> web.StreamResponse:
        """Write an old version's lessons as the newest version, if the newest is the one that was looked at."""
        form = await fields(request)
        which, note = _which(form), _note(form)
        newest = await self._found(which)
        if str(newest.version) != form.get("newest"):
            raise StaleVersion(f"The newest version is {newest.version} by now.", "Look at it again, then decide.")
        old = await self._found(which, _number(form.get("to", "")))
        if old.version == newest.version:
            raise Refusal(400, "That is the newest version already.")
        said = f"to version {old.version}" + (f": {note}" if note else "")
        deed = Deed(who=self._who, what="rolled_back", note=said)
        await self._shelf.publish(rolled_back((old, newest), old.version), deed)
        return see_other(which.address)

    async def _lessons(self, request: web.Request) -> web.StreamResponse:
        found = await self._shelf.candidates()
        waiting = tuple(WaitingLesson(lesson=one, read=read(one.entry)) for one in found)
        return answer(request, LessonQueue(waiting=waiting))

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        form = await fields(request)
        which, note = _which(form), _note(form)
        word = form.get("decision", "")
        if word not in ("approved", "quarantined"):
            raise Refusal(400, "A lesson is approved or quarantined.")
        entry_id, seen = form.get("entry", ""), form.get("seen", "")
        deed = Deed(who=self._who, what=word, entry=entry_id, note=note or None)
        await self._publish(which, seen, deed)
        return see_other(form.get("back") or "/review/lessons")

    async def _publish(self, which: Which, seen: str, deed: Deed) -> None:
        """Record the decision in the newest version; again where a session's version came first."""
        for _ in range(TRIES):
            book = await self._found(which)
            entry = _entry(book, deed.entry)
            if entry is None or said_hash(entry) != seen:
                cause = "The lesson is not what you saw: it was changed, decided on or dropped meanwhile."
                raise StaleVersion(cause, "Look at it again, then decide.")
            said = f"{deed.who}: {deed.note}" if deed.note else deed.who
            try:
                entries = reviewed(book.entries, entry.id, approved=deed.what == "approved", note=said)
            except ValueError as error:
                raise Refusal(409, f"{error}.") from error
            try:
                return await self._shelf.publish(next_version(book, entries), deed)
            except StaleVersion:
                continue
        raise StaleVersion("Sessions write this playbook faster than the decision can.", "Try again.")

    async def _found(self, which: Which, version: int | None = None) -> Playbook:
        book = await self._shelf.book(which.tenant, which.key, which.audience, version)
        if book is None:
            raise Refusal(404, "There is no such playbook, or it has no such version.")
        return book


def _entry(book: Playbook, entry_id: str | None) -> Entry | None:
    return next((entry for entry in book.entries if entry.id == entry_id), None)


def _which(form: Mapping[str, str]) -> Which:
    audience = form.get("audience", "")
    if audience not in get_args(Audience):
        raise Refusal(400, "A playbook is the student's or the teacher's.")
    return Which.model_validate({**{name: form.get(name, "") for name in ("tenant", "key")}, "audience": audience})


def _note(form: Mapping[str, str]) -> str:
    return form.get("note", "")[:NOTE_CHARS].strip()


def _version(request: web.Request, name: str) -> int | None:
    given = request.query.get(name)
    return None if not given else _number(given)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Refusal(400, "A version is a number.")
    return int(text)
