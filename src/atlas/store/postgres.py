"""The store on Postgres, embedded or given."""

from __future__ import annotations

import json
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from atlas.schema import (
    Audience,
    Background,
    Body,
    Event,
    Outcome,
    Playbook,
    Recalled,
    Session,
    Status,
    rebuild,
)
from atlas.schema.errors import StoreError
from atlas.store.base import SHORT_ID, Flushed, LedgerRow, ReviewStatus, SessionRow
from atlas.store.boundary import Safety, safety_of
from atlas.store.database import Database
from atlas.store.pooling import Bodies, Pool, escape, unescape
from atlas.store.spool import Row, micros
from atlas.store.writer import Writer

if TYPE_CHECKING:
    import asyncpg

REMEMBERED = 32_000_000
"""Characters of long texts that are remembered over all sessions; forgetting some costs disk, nothing else."""
PAGE = 200
"""Session lines fetched in one round trip."""
CLOSE_PATIENCE_S = 10.0
"""How long `close` waits for the database to take what waits."""
MAX_SEQ = 2**31 - 1
MOST_TOKENS = 10**15
"""More is not counted, so that sums hold."""
_BODY: TypeAdapter[Body] = TypeAdapter(Body)
_PLAYBOOK = TypeAdapter(Playbook)


class PgStore:
    """The `Store` on Postgres: appends through the spool, reads and commits through the pool."""

    def __init__(self, database: Database, writer: Writer, safety: Safety | None = None) -> None:
        """Without `safety` the defaults of the configuration hold."""
        safety = safety or safety_of()
        self._clean = safety.boundary
        watched = safety.drift
        size = watched.window if watched.enabled else 0
        self._drift = (size, watched.z_threshold, watched.min_baseline)
        self._database = database
        self._writer = writer
        self._pools: OrderedDict[str, tuple[uuid.UUID, Pool]] = OrderedDict()
        self._remembered = 0
        self._closed: Flushed | None = None

    async def append(self, events: Sequence[Event]) -> None:
        """See `Store.append`."""
        rows = [self._row(event) for event in events]
        try:
            await self._writer.append(rows)
        except StoreError:
            for event in events:  # What was not accepted must not be referred to.
                self._forget(event.session_id)
            raise

    async def flush(self, *, timeout_s: float = 30.0) -> Flushed:
        """See `Store.flush`."""
        return self._closed or await self._writer.flush(timeout_s)

    async def commit(self, session: Session, playbooks: Sequence[Playbook] = ()) -> None:
        """See `Store.commit`."""
        used = session.total_usage
        bare = session.model_copy(update={"attempts": (), "reviews": (), "degraded": ()})
        told = Pool().alone(self._clean.noun(bare))
        books = self._books(playbooks)
        numbers = (max(min(used.tokens, MOST_TOKENS), 0), used.cost_usd, session.first_try)
        await self._database.rows("commit", _uuid(session.id), told, *numbers, books, uuid.uuid4(), *self._drift)
        self._forget(session.id)

    async def publish(self, playbooks: Sequence[Playbook]) -> None:
        """See `Store.publish`."""
        await self._database.rows("publish", self._books(playbooks), uuid.uuid4())

    async def background(self, tenant: str, key: str, *, limit: int) -> Background:
        """See `Store.background`."""
        row = (await self._database.rows("background", self._stored(tenant), self._stored(key), limit))[0]
        outcomes = json.loads(row["outcomes"] or "[]")
        return Background(
            student=_playbook(tenant, key, "student", row["student"]),
            teacher=_playbook(tenant, key, "teacher", row["teacher"]),
            outcomes=tuple(Outcome.model_validate(outcome) for outcome in outcomes),
        )

    async def playbook(self, tenant: str, key: str, audience: Audience, version: int | None = None) -> Playbook:
        """See `Store.playbook`."""
        found = await self._database.value("playbook", self._stored(tenant), self._stored(key), audience, version)
        return _playbook(tenant, key, audience, found)

    async def versions(self, tenant: str, key: str, audience: Audience) -> AsyncIterator[Playbook]:
        """See `Store.versions`."""
        after = 0
        while True:
            rows = await self._database.rows("versions", self._stored(tenant), self._stored(key), audience, after, PAGE)
            for row in rows:
                book = _playbook(tenant, key, audience, row["book"])
                after = book.version
                yield book
            if len(rows) < PAGE:
                return

    async def shelf(self, tenant: str) -> list[Playbook]:
        """See `Store.shelf`."""
        rows = await self._database.rows("shelf", self._stored(tenant))
        return [_playbook(tenant, unescape(row["key"]), row["audience"], row["book"]) for row in rows]

    async def ledger(self, tenant: str, key: str | None = None) -> AsyncIterator[LedgerRow]:
        """See `Store.ledger`."""
        wanted = None if key is None else self._stored(key)
        after: tuple[datetime | None, uuid.UUID | None] = (None, None)
        while True:
            rows = await self._database.rows("ledger", self._stored(tenant), wanted, *after, PAGE)
            for row in rows:
                yield _ledger_row(row)
            if len(rows) < PAGE:
                return
            after = (rows[-1]["created_at"], rows[-1]["uid"])

    async def session(self, session_id: str) -> Session | None:
        """See `Store.session`. Raises StoreError where several ids begin so."""
        named = await self._named(session_id)
        if named is None:
            return None
        uid, status = named
        events = await self.events(str(uid))
        if not events:
            return None
        session = rebuild(events)
        if status == "interrupted" and session.status == "running":
            return session.model_copy(update={"status": "interrupted"})
        return session

    async def events(self, session_id: str) -> list[Event]:
        """See `Store.events`."""
        uid = _uuid(session_id)
        waiting = self._writer.waiting(uid)
        found = {row["seq"]: (row["at"], row["payload"]) for row in await self._database.rows("events", uid)}
        found |= {row.seq: (row.at, row.payload.decode()) for row in waiting if row.seq not in found}
        bodies = Bodies({seq: payload for seq, (_, payload) in found.items()})
        return [_event(uid, seq, at, bodies.body(seq)) for seq, (at, _) in sorted(found.items())]

    async def sessions(
        self,
        *,
        status: Status | None = None,
        learning_key: str | None = None,
        review: ReviewStatus | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[SessionRow]:
        """See `Store.sessions`."""
        key = None if learning_key is None else self._stored(learning_key)
        after: tuple[datetime | None, uuid.UUID | None] = (None, None)
        left = limit
        while left is None or left > 0:
            page = PAGE if left is None else min(PAGE, left)
            rows = await self._database.rows("sessions", status, key, *after, page, review)
            for row in rows:
                yield _session_row(row)
            if len(rows) < page:
                return
            after = (rows[-1]["created_at"], rows[-1]["uid"])
            left = None if left is None else left - page

    def cleaned(self, rows: Sequence[Row]) -> Sequence[Row]:
        """All events of a session that were encoded elsewhere, as they may be written."""
        bodies = Bodies({row.seq: row.payload.decode() for row in rows})
        given = [_BODY.validate_python(bodies.body(row.seq)) for row in rows]
        clean = [self._clean.noun(body) for body in given]
        if all(new is old for new, old in zip(clean, given, strict=True)):
            return rows
        pool = Pool()
        return [row._replace(payload=pool.encode(row.seq, body)) for row, body in zip(rows, clean, strict=True)]

    async def interrupted(self) -> list[SessionRow]:
        """Sessions whose process died before they reached a final state, newest first.

        Raises:
            StoreUnavailable: the database is away.
        """
        await self._database.rows("sweep")
        return [row async for row in self.sessions(status="interrupted")]

    async def claim(self, session_id: str) -> bool:
        """Take an interrupted session over, so that this process alone continues it; False when another was first.

        Raises:
            StoreUnavailable: the database is away.
        """
        return await self._database.value("claim", _uuid(session_id), self._writer.owner) is not None

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed is None:
            self._closed = await self._writer.close(timeout_s=CLOSE_PATIENCE_S)
            await self._database.close()

    def _books(self, playbooks: Sequence[Playbook]) -> list[str]:
        return [Pool().alone(self._clean.noun(playbook)) for playbook in playbooks]

    def _stored(self, text: str) -> str:
        """A name as the database has it."""
        return escape(self._clean.text(text))

    def _row(self, event: Event) -> Row:
        known = self._pools.get(event.session_id)
        if known is None:
            known = (_uuid(event.session_id), Pool())
            self._pools[event.session_id] = known
            self._remembered += known[1].characters
        if not 0 < event.seq <= MAX_SEQ:
            raise StoreError(f"Event number {event.seq} is not between 1 and {MAX_SEQ}.")
        uid, pool = known
        before = pool.characters
        row = Row(uid, event.seq, micros(event.at), self._clean.encoded(pool, event.seq, event.body))
        self._remembered += pool.characters - before
        while self._remembered > REMEMBERED:
            self._forget(next(iter(self._pools)))
        return row

    def _forget(self, session_id: str) -> None:
        """Remember no texts of this session."""
        known = self._pools.pop(session_id, None)
        if known:
            self._remembered -= known[1].characters

    async def _named(self, part: str) -> tuple[uuid.UUID, Status] | None:
        """The one session whose id begins so, or else ends so: its end is what progress is shown under."""
        digits = part.replace("-", "").lower()
        if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
            return None
        low, high = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
        waiting = self._writer.waiting_sessions()
        found: dict[uuid.UUID, Status] = {uid: "running" for uid in waiting if low <= uid <= high}
        found |= _states(await self._database.rows("named", low, high))
        if not found and len(digits) >= SHORT_ID:
            found = {uid: "running" for uid in waiting if uid.hex.endswith(digits)}
            found |= _states(await self._database.rows("ending", digits))
        if len(found) > 1:
            raise StoreError(f"Several sessions begin with {part}, or end so.", "Give more of the id.")
        return next(iter(found.items()), None)


def _states(rows: Iterable[asyncpg.Record]) -> dict[uuid.UUID, Status]:
    return {uuid.UUID(str(row["uid"])): row["status"] for row in rows}


def _uuid(session_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(session_id)
    except ValueError:
        raise StoreError(f"{session_id[:64]!r} is no session id.", "Session ids are UUIDs.") from None


def _event(uid: uuid.UUID, seq: int, at: datetime, body: Any) -> Event:
    try:
        return Event(session_id=str(uid), seq=seq, at=at, body=_BODY.validate_python(body))
    except ValidationError as error:
        fault = error.errors()[0]
        cause = f"Event {seq} of session {uid} is not understood: {fault['loc']}, {fault['msg']}."
        raise StoreError(cause, "A newer version wrote it; upgrade atlas-loop.") from error


def _playbook(tenant: str, key: str, audience: Audience, stored: str | None) -> Playbook:
    if stored is None:
        return Playbook(tenant=tenant, key=key, audience=audience)
    book = cast("dict[str, Any]", Bodies({1: stored}).body(1))
    return _PLAYBOOK.validate_python({**book, "tenant": tenant, "key": key, "audience": audience})


def _session_row(row: Any) -> SessionRow:
    return SessionRow(
        id=str(row["uid"]),
        prompt=unescape(row["task"]),
        learning_key=unescape(row["learning_key"]),
        status=row["status"],
        lane=row["lane"],
        reward=row["reward_value"],
        tokens=row["tokens"],
        cost_usd=row["cost_usd"],
        created_at=row["created_at"],
        review=row["review_status"],
        drift=row["drift"],
    )


def _ledger_row(row: Any) -> LedgerRow:
    nobody = {"student": Recalled(audience="student", version=0), "teacher": Recalled(audience="teacher", version=0)}
    recalled: Any = nobody if row["recalled"] is None else Bodies({1: row["recalled"]}).body(1)
    compared: Any = None if row["compared"] is None else Bodies({1: row["compared"]}).body(1)
    return LedgerRow(
        id=str(row["uid"]),
        learning_key=unescape(row["learning_key"]),
        at=row["created_at"],
        lane=row["lane"],
        policy=unescape(row["policy"]),
        reward=row["reward_value"],
        first_try=row["first_try"],
        tokens=row["tokens"],
        cost_usd=row["cost_usd"],
        student=recalled["student"],
        teacher=recalled["teacher"],
        compared=compared,
        replay_of=None if row["replay_of"] is None else str(json.loads(row["replay_of"])),
    )
