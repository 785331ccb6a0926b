"""A model of the store beside the real one, on a real Postgres: whatever is done in whatever order, both say the same.

Sessions begin, go on, end and are judged; the process crashes, the server is killed; sessions are resumed, approved,
put into quarantine and deleted. `ATLAS_MODEL_EXAMPLES` sets how many histories are tried.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import psutil
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Event,
    Message,
    Request,
    Review,
    Reward,
    Task,
    Usage,
    new_id,
    now,
    rebuild,
)
from atlas.schema.errors import StaleVersion, StoreUnavailable
from atlas.schema.events import (
    Answered,
    Attempted,
    Finished,
    ModelCalled,
    Reviewed,
    Rewarded,
    SessionResumed,
    SessionStarted,
)
from atlas.store.database import Database
from atlas.store.embedded import Embedded, start_embedded
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore
from atlas.store.pruning import Doomed, prune
from atlas.store.review import ReviewDesk

T = TypeVar("T")
texts = st.text(st.characters(exclude_categories=()), max_size=90)
which = st.integers(0, 10**6)


@dataclass
class Known:
    """What the model knows of a session."""

    events: list[Event] = field(default_factory=list)
    status: str = "running"
    review: str = "pending"
    reviewed: int = 0
    """Events that were there when it was decided."""

    @property
    def id(self) -> str:
        return self.events[0].session_id

    @property
    def lives(self) -> bool:
        return self.status == "running"


class StoreMachine(RuleBasedStateMachine):
    """The rules. The server and a template database are made once, by the test."""

    server: Embedded
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.known: dict[str, Known] = {}
        self.gone: list[str] = []
        self.accepted = self.forged = 0
        self.store: PgStore | None = None
        self.away = False

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def open(self) -> PgStore:
        assert self.store is not None
        return self.store

    @initialize()
    def make(self) -> None:
        self.do(self.server.ensure())
        name = f"model_{uuid.uuid4().hex[:12]}"
        self.spool = self.folder / name
        self.url = self.server.dsn.replace("/postgres?", f"/{name}?")
        self.do(self.execute(f"CREATE DATABASE {name} TEMPLATE model_template", url=self.server.dsn))
        self.reopen()

    async def execute(self, statement: str, *args: object, url: str | None = None) -> list[Any]:
        connection = await asyncpg.connect(url or self.url)
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close()

    # What a process does.

    @precondition(lambda self: self.store)
    @rule(text=texts)
    def begin(self, text: str) -> None:
        known = Known()
        uid = new_id()
        self.append(known, uid, SessionStarted(task=Task(prompt=text, payload={"text": text}), metadata={"n": text}))
        self.known[uid] = known

    @precondition(lambda self: self.store and self.living())
    @rule(at=which, text=texts, count=st.integers(1, 12))
    def go_on(self, at: int, text: str, count: int) -> None:
        known = self.pick(self.living(), at)
        said = f"{text} and more words, so that it is long enough for a reference: {text}"
        steps: list[Body] = [
            called(said),
            Attempted(attempt=Attempt(number=len(known.events), output=said)),
            Reviewed(review=Review(target="answer", accepted=False, guidance=text, attempt=len(known.events))),
        ]
        self.append(known, known.id, *(steps * 4)[:count])

    @precondition(lambda self: self.store and self.living())
    @rule(at=which, text=texts, status=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def end(self, at: int, text: str, status: Any) -> None:
        known = self.pick(self.living(), at)
        self.append(known, known.id, Answered(answer=text), Finished(status=status))
        known.status = status

    @precondition(lambda self: self.store and self.ended())
    @rule(at=which, score=st.floats(0, 1))
    def judge(self, at: int, score: float) -> None:
        known = self.pick(self.ended(), at)
        self.append(known, known.id, Rewarded(reward=Reward(value=score, source="check")))
        session = rebuild(known.events)
        if self.away:
            with pytest.raises(StoreUnavailable):
                self.do(self.open.commit(session))
            return
        self.do(self.open.flush())
        self.do(self.open.commit(session))

    @precondition(lambda self: self.store and self.known)
    @rule(at=which, count=st.integers(1, 5))
    def say_again(self, at: int, count: int) -> None:
        """What was said already changes nothing."""
        known = self.pick(list(self.known.values()), at)
        self.do(self.open.append(known.events[-count:]))
        self.accepted += len(known.events[-count:])

    @precondition(lambda self: self.store and self.known and not self.away)
    @rule(at=which)
    def forge(self, at: int) -> None:
        """Another event in a place that is taken is refused, and the first one stays."""
        known = self.pick(list(self.known.values()), at)
        self.do(self.open.flush())
        self.do(self.open.append([known.events[-1].model_copy(update={"body": Answered(answer=f"forged {new_id()}")})]))
        self.accepted += 1
        self.forged += 1

    @precondition(lambda self: self.store)
    @rule()
    def flush(self) -> None:
        told = self.do(self.open.flush(timeout_s=0.05 if self.away else 20))
        assert told.accepted == self.accepted == told.stored + told.refused + told.waiting
        if not self.away:
            assert told.waiting == 0
            self.compare()

    # What befalls it.

    @precondition(lambda self: self.store)
    @rule()
    def crash(self) -> None:
        self.do(crash(self.open))
        self.left()

    @precondition(lambda self: self.store and not self.away)
    @rule()
    def close(self) -> None:
        self.do(self.open.close())
        assert self.do(self.open.flush()).waiting == 0
        self.left()

    def left(self) -> None:
        self.store = None
        self.accepted = 0
        for known in self.living():
            known.status = "interrupted"

    @precondition(lambda self: not self.store)
    @rule()
    def reopen(self) -> None:
        if self.away:
            with pytest.raises(StoreUnavailable):
                self.do(open_postgres(self.url, folder=self.spool, sizes=(1, 2)))
            return
        self.store = self.do(open_postgres(self.url, folder=self.spool, sizes=(1, 2)))
        found = {row.id for row in self.do(self.store.interrupted())}
        assert found == {known.id for known in self.known.values() if known.status == "interrupted"}
        self.compare()

    @precondition(lambda self: not self.away)
    @rule()
    def kill_the_server(self) -> None:
        server = psutil.Process(int((self.folder / "server/pg/data/postmaster.pid").read_text().split("\n")[0]))
        server.kill()
        server.wait(timeout=10)
        self.away = True

    @precondition(lambda self: self.away)
    @rule()
    def start_the_server(self) -> None:
        self.do(self.server.ensure())
        self.away = False

    # What people do.

    @precondition(lambda self: self.store and not self.away and self.in_state("interrupted"))
    @rule(at=which)
    def resume(self, at: int) -> None:
        known = self.pick(self.in_state("interrupted"), at)
        assert [self.do(self.open.claim(known.id)), self.do(self.open.claim(known.id))] == [True, False]
        known.status = "running"
        self.append(known, known.id, SessionResumed())

    @precondition(lambda self: self.store and not self.away and self.known)
    @rule(at=which, decision=st.sampled_from(["approved", "quarantined", "pending"]), stale=st.booleans())
    def review(self, at: int, decision: Any, stale: bool) -> None:
        known = self.pick(list(self.known.values()), at)
        self.do(self.open.flush())
        if stale:
            with pytest.raises(StaleVersion):
                self.do(self.decide(known.id, decision, "0" * 64))
            return
        seen = self.do(self.execute("SELECT atlas_content_hash($1)", uuid.UUID(known.id)))[0][0]
        assert self.do(self.decide(known.id, decision, seen)) == seen
        known.review, known.reviewed = decision, len(known.events)

    @precondition(lambda self: self.store and not self.away and self.known)
    @rule(at=which)
    def delete(self, at: int) -> None:
        known = self.pick(list(self.known.values()), at)
        self.do(self.open.flush())
        told = self.do(self.prune(Doomed(session_id=known.id)))
        if known.lives:
            assert told.sessions == 0
            return
        assert (told.sessions, told.events) == (1, len(known.events))
        del self.known[known.id]
        self.gone.append(known.id)

    @precondition(lambda self: self.store and not self.away and self.known)
    @rule()
    def delete_all_but_approved(self) -> None:
        self.do(self.open.flush())
        self.do(self.prune(Doomed(before=now(), keep_approved=True)))
        for known in list(self.known.values()):
            if not known.lives and self.review_of(known) != "approved":
                del self.known[known.id]
                self.gone.append(known.id)
        self.compare()

    # What must hold.

    @invariant()
    def the_counts_are_true(self) -> None:
        if self.store:
            told = self.store._writer.told()  # pyright: ignore[reportPrivateUsage]
            assert told.accepted == self.accepted == told.stored + told.refused + told.waiting

    def compare(self) -> None:
        """Sessions, events, states and decisions are what the model says; the store has taken all of them."""
        self.do(self.open.flush())
        rows = {row.id: row for row in self.do(listed(self.open))}
        assert set(rows) == set(self.known)
        for uid, known in self.known.items():
            assert self.do(self.open.events(uid)) == known.events
            assert (rows[uid].status, rows[uid].review) == (known.status, self.review_of(known))
            session = self.do(self.open.session(uid))
            assert session is not None
            assert session.answer == rebuild(known.events).answer
        for uid in self.gone:
            assert self.do(self.open.session(uid)) is None
            assert self.do(self.open.events(uid)) == []
        assert self.do(self.execute("SELECT count(*) FROM events_default"))[0][0] == 0
        refused = [line for file in self.spool.rglob("refused.jsonl") for line in file.read_text().splitlines()]
        assert len(refused) == self.forged
        assert len(list(self.spool.rglob("*.spool"))) == 1

    def teardown(self) -> None:
        try:
            if self.away:
                self.start_the_server()
            if not self.store:
                self.reopen()
            self.compare()
            self.do(self.open.close())
            trail = self.do(self.execute("SELECT session::text FROM audit WHERE what = 'deleted'"))
            assert sorted(row[0] for row in trail) == sorted(self.gone)
            assert list(self.spool.rglob("*.spool")) == []
        finally:
            self.runner.close()

    # Hands.

    def append(self, known: Known, uid: str, *bodies: Body) -> None:
        begun = len(known.events)
        events = [Event(session_id=uid, seq=begun + n, at=now(), body=body) for n, body in enumerate(bodies, start=1)]
        self.do(self.open.append(events))
        self.accepted += len(events)
        known.events += events

    def review_of(self, known: Known) -> str:
        """An approval ends when the session goes on."""
        if known.review == "approved" and len(known.events) > known.reviewed:
            known.review = "pending"
        return known.review

    def living(self) -> list[Known]:
        return self.in_state("running")

    def ended(self) -> list[Known]:
        return self.in_state("succeeded", "failed")

    def in_state(self, *states: str) -> list[Known]:
        return [known for known in self.known.values() if known.status in states]

    def pick(self, among: list[Known], at: int) -> Known:
        return among[at % len(among)]

    async def decide(self, uid: str, decision: Any, seen: str) -> str:
        database = await Database.connect(self.url, embedded=None, sizes=(0, 1), statement_timeout_s=10)
        try:
            return await ReviewDesk(database).decide(uid, decision, who="model", seen=seen)
        finally:
            await database.close()

    async def prune(self, doomed: Doomed) -> Any:
        database = await Database.connect(self.url, embedded=None, sizes=(0, 1), statement_timeout_s=10)
        try:
            return await prune(database, doomed, who="model")
        finally:
            await database.close()


def called(said: str) -> ModelCalled:
    message = Message(role="user", content=f"Say it again:\n{said}")
    return ModelCalled(
        actor="student",
        purpose="answer",
        model="scripted:one",
        request_hash="0" * 64,
        request=Request(messages=(message,)),
        completion=Completion(message=Message(role="assistant", content=said), usage=Usage(calls=1, prompt_tokens=9)),
        latency_s=0.25,
    )


async def crash(store: PgStore) -> None:
    """What a kill -9 leaves: no task runs, no lock is held, nothing was flushed or given back."""
    writer, database = store._writer, store._database  # pyright: ignore[reportPrivateUsage]
    for task in writer._tasks:  # pyright: ignore[reportPrivateUsage]
        task.cancel()
    await asyncio.gather(*writer._tasks, return_exceptions=True)  # pyright: ignore[reportPrivateUsage]
    spool = writer._spool  # pyright: ignore[reportPrivateUsage]
    for segment in (*spool._old, spool._current):  # pyright: ignore[reportPrivateUsage]
        os.close(segment.fd)
    database._pool.terminate()  # pyright: ignore[reportPrivateUsage]


async def listed(store: PgStore) -> list[Any]:
    return [row async for row in store.sessions()]


@pytest.fixture
def machine(place: Path) -> Iterator[type[StoreMachine]]:
    """The rules on a server of their own, which may be killed."""
    folder = place / "model"
    with asyncio.Runner() as runner:
        server = runner.run(start_embedded(folder / "server"))
        template = server.dsn.replace("/postgres?", "/model_template?")

        async def make() -> None:
            connection = await asyncpg.connect(server.dsn)
            await connection.execute("CREATE DATABASE model_template")
            await connection.close()
            await Database.prepare(template)

        runner.run(make())
        yield type("Machine", (StoreMachine,), {"server": server, "folder": folder})
        runner.run(server.close())


def test_the_store_does_what_its_model_does(machine: type[StoreMachine]) -> None:
    tried = settings(
        max_examples=int(os.environ.get("ATLAS_MODEL_EXAMPLES", "6")),
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=tried)
