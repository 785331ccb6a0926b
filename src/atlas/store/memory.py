"""The store for `storage: null`: everything in memory, gone with the process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from atlas.schema import Audience, Background, Event, Outcome, Playbook, Session, Status, rebuild
from atlas.schema.errors import StaleVersion, StoreError
from atlas.schema.events import Finished, Rewarded
from atlas.store.base import SHORT_ID, Flushed, LedgerRow, ReviewStatus, SessionRow
from atlas.store.boundary import Safety, safety_of


class MemoryStore:
    """The `Store` in memory, with the same rules as the one on Postgres."""

    def __init__(self, safety: Safety | None = None) -> None:
        """Without `safety` the defaults of the configuration hold."""
        self._clean = (safety or safety_of()).boundary
        self._events: dict[str, dict[int, Event]] = {}
        self._outcomes: dict[tuple[str, str], dict[str, Outcome]] = {}
        self._playbooks: dict[tuple[str, str, Audience], list[Playbook]] = {}
        self._accepted = 0
        self._refused = 0

    async def append(self, events: Sequence[Event]) -> None:
        """See `Store.append`."""
        for event in map(self._clean.noun, events):
            self._accepted += 1
            kept = self._events.setdefault(event.session_id, {}).setdefault(event.seq, event)
            self._refused += kept != event
            if isinstance(event.body, Finished | Rewarded):
                self._note(rebuild(self._events[event.session_id].values()))

    async def flush(self, *, timeout_s: float = 30.0) -> Flushed:
        """See `Store.flush`."""
        return Flushed(accepted=self._accepted, stored=self._accepted - self._refused, refused=self._refused, waiting=0)

    async def commit(self, session: Session, playbooks: Sequence[Playbook] = ()) -> None:
        """See `Store.commit`."""
        await self.publish(playbooks)
        self._note(self._clean.noun(session))

    async def publish(self, playbooks: Sequence[Playbook]) -> None:
        """See `Store.publish`."""
        playbooks = [self._clean.noun(book) for book in playbooks]
        newest: dict[tuple[str, str, Audience], int] = {}
        for book in playbooks:
            where = (book.tenant, book.key, book.audience)
            if book.version != newest.get(where, len(self._playbooks.get(where, ()))) + 1:
                raise StaleVersion(f"Somebody else wrote a newer playbook first ({'/'.join(where)}).")
            newest[where] = book.version
        for book in playbooks:
            self._playbooks.setdefault((book.tenant, book.key, book.audience), []).append(book)

    async def background(self, tenant: str, key: str, *, limit: int) -> Background:
        """See `Store.background`."""
        where = (self._clean.text(tenant), self._clean.text(key))
        outcomes = sorted(self._outcomes.get(where, {}).values(), key=_ended, reverse=True)
        return Background(
            student=await self.playbook(tenant, key, "student"),
            teacher=await self.playbook(tenant, key, "teacher"),
            outcomes=tuple(outcomes[:limit]),
        )

    async def playbook(self, tenant: str, key: str, audience: Audience, version: int | None = None) -> Playbook:
        """See `Store.playbook`."""
        versions = self._playbooks.get((self._clean.text(tenant), self._clean.text(key), audience), [])
        wanted = len(versions) if version is None else version
        if 0 < wanted <= len(versions):
            return versions[wanted - 1]
        return Playbook(tenant=tenant, key=key, audience=audience)

    async def versions(self, tenant: str, key: str, audience: Audience) -> AsyncIterator[Playbook]:
        """See `Store.versions`."""
        for book in list(self._playbooks.get((self._clean.text(tenant), self._clean.text(key), audience), ())):
            yield book

    async def shelf(self, tenant: str) -> list[Playbook]:
        """See `Store.shelf`."""
        mine = {where: books for where, books in self._playbooks.items() if where[0] == self._clean.text(tenant)}
        return [books[-1] for _, books in sorted(mine.items()) if books]

    async def ledger(self, tenant: str, key: str | None = None) -> AsyncIterator[LedgerRow]:
        """See `Store.ledger`."""
        every = sorted((rebuild(events.values()) for events in self._events.values()), key=_started)
        for session in every:
            task = session.task
            mine = task.tenant == self._clean.text(tenant) and key in (None, task.learning_key)
            if mine and session.status in ("succeeded", "failed"):
                yield _ledger_row(session)

    async def session(self, session_id: str) -> Session | None:
        """See `Store.session`. Raises StoreError where several ids begin so."""
        found = [known for known in self._events if session_id and known.startswith(session_id)]
        if not found and len(session_id) >= SHORT_ID:
            found = [known for known in self._events if known.endswith(session_id)]
        if len(found) > 1:
            raise StoreError(f"Several sessions begin with {session_id}, or end so.", "Give more of the id.")
        return rebuild(self._events[found[0]].values()) if found else None

    async def events(self, session_id: str) -> list[Event]:
        """See `Store.events`."""
        return [event for _, event in sorted(self._events.get(session_id, {}).items())]

    async def sessions(
        self,
        *,
        status: Status | None = None,
        learning_key: str | None = None,
        review: ReviewStatus | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[SessionRow]:
        """See `Store.sessions`."""
        every = sorted((rebuild(events.values()) for events in self._events.values()), key=_started, reverse=True)
        shown = 0
        for session in every:
            if limit is not None and shown >= limit:
                return
            fits = status in (None, session.status) and learning_key in (None, session.task.learning_key)
            if fits and review in (None, "pending"):
                shown += 1
                yield _row(session)

    async def interrupted(self) -> list[SessionRow]:
        """Sessions that ended as interrupted; nothing else outlives its process here."""
        return [row async for row in self.sessions(status="interrupted")]

    async def claim(self, session_id: str) -> bool:
        """Whether the session is interrupted; there is no other process to take it."""
        session = await self.session(session_id)
        return session is not None and session.status == "interrupted"

    async def close(self) -> None:
        """See `Store.close`."""

    def _note(self, session: Session) -> None:
        """Remember how a session ended, for the router."""
        ended = session.finished_at is not None and session.status in ("succeeded", "failed")
        if session.route is None or session.finished_at is None or not ended or "replay_of" in session.metadata:
            return
        self._outcomes.setdefault((session.task.tenant, session.task.learning_key), {})[session.id] = Outcome(
            lane=session.route.lane,
            reward=session.reward.value if session.reward else None,
            first_try=session.first_try,
            playbook_version=session.student_memory.version,
            arms=session.student_memory.arms,
            task=_hashed(self._clean.text(session.task.prompt)),
            policy=session.policy,
            at=session.finished_at,
        )


def _hashed(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _ended(outcome: Outcome) -> datetime:
    return outcome.at


def _started(session: Session) -> tuple[datetime, str]:
    return session.created_at, session.id


def _row(session: Session) -> SessionRow:
    used = session.total_usage
    return SessionRow(
        id=session.id,
        prompt=session.task.prompt,
        learning_key=session.task.learning_key,
        status=session.status,
        lane=session.route.lane if session.route else None,
        reward=session.reward.value if session.reward else None,
        tokens=used.tokens,
        cost_usd=used.cost_usd,
        created_at=session.created_at,
    )


def _ledger_row(session: Session) -> LedgerRow:
    used = session.total_usage
    replayed = session.metadata.get("replay_of")
    return LedgerRow(
        id=session.id,
        learning_key=session.task.learning_key,
        at=session.created_at,
        lane=session.route.lane if session.route else None,
        policy=session.policy,
        reward=session.reward.value if session.reward else None,
        first_try=session.first_try,
        tokens=used.tokens,
        cost_usd=used.cost_usd,
        student=session.student_memory,
        teacher=session.teacher_memory,
        compared=session.compared,
        replay_of=None if replayed is None else str(replayed),
    )
