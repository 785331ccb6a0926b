"""The store on a real Postgres: what goes in comes out, once, and the contract's tables tell it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.schema import (
    Attempt,
    Cue,
    Entry,
    Event,
    Plan,
    Playbook,
    Review,
    Reward,
    Session,
    Step,
    StepReward,
    Task,
    ToolCall,
    ToolUse,
    Usage,
    new_id,
    now,
    rebuild,
)
from atlas.schema.errors import StaleVersion, StoreError, StoreUnavailable
from atlas.schema.events import Answered, Attempted, Finished, Planned, Reviewed, Rewarded, Routed, SessionStarted
from atlas.schema.task import Route
from atlas.store import MemoryStore, Store, open_store
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore

Tell = Callable[..., list[Event]]
anything = st.text(st.characters(exclude_categories=()), max_size=120)
odd = st.lists(
    st.sampled_from(["\x00", "\ud800", "\udfff", "\ueffe", "r1:", ";", "\\", '"', "n", "😀"]), max_size=40
).map("".join)
texts = st.one_of(anything, odd)
numbers = st.one_of(st.integers(-(10**60), 10**60), st.floats())


@pytest.fixture(params=["memory", "postgres"])
def either(request: pytest.FixtureRequest) -> Store:
    """Both implementations: the same rules."""
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("store")


@pytest.fixture
async def sql(url: str) -> Any:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def put(store: Store, events: list[Event]) -> Session:
    await store.append(events)
    told = await store.flush()
    assert told.waiting == told.refused == 0
    return rebuild(events)


def refused_in(folder: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for file in folder.rglob("refused.jsonl") for line in file.read_text().splitlines()]
    return [(line["session"], line["seq"]) for line in lines]


def spools_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.spool"))


def written(events: list[Event]) -> list[str]:
    """Bodies as text, so that types and minus zero count; jsonb does not keep the order of keys."""
    return [json.dumps(event.body.model_dump(), sort_keys=True) for event in events]


def book(key: str, version: int, action: str = "check the sum twice") -> Playbook:
    entry = Entry(id=f"e{version}", audience="student", cue=Cue(text="sum"), action=action, state="active")
    return Playbook(key=key, audience="student", version=version, entries=(entry,))


async def test_events_come_back_before_and_after_they_are_stored(either: Store, tell: Tell) -> None:
    events = tell()
    for event in events:
        await either.append([event])
    uid = events[0].session_id
    assert await either.events(uid) == events
    told = await either.flush()
    assert (told.accepted, told.stored, told.waiting) == (len(events), len(events), 0)
    assert await either.events(uid) == events
    assert await either.session(uid) == rebuild(events)
    assert await either.session(uid[:30]) == rebuild(events)


async def test_an_unknown_session_is_none(either: Store) -> None:
    assert await either.session(new_id()) is None
    assert await either.session("") is None
    assert await either.session("not-hex") is None
    assert await either.events(new_id()) == []


async def test_an_ambiguous_prefix_is_an_error(either: Store, tell: Tell) -> None:
    stem = new_id()[:-1]
    for last in "01":
        await put(either, tell(session_id=stem + last))
    with pytest.raises(StoreError, match="Several sessions"):
        await either.session(stem)


async def test_taking_events_twice_is_taking_them_once(either: Store, tell: Tell) -> None:
    events = tell()
    await put(either, events)
    await either.append(events[3:])
    assert (await either.flush()).refused == 0
    assert await either.events(events[0].session_id) == events


async def test_another_event_in_the_same_place_is_refused_and_counted(
    either: Store, tell: Tell, tmp_path: Path
) -> None:
    events = tell()
    await put(either, events)
    await either.append([events[4].model_copy(update={"body": Answered(answer="forged")})])
    told = await either.flush()
    assert (told.refused, told.stored, told.waiting) == (1, len(events), 0)
    assert await either.events(events[0].session_id) == events
    if isinstance(either, PgStore):
        assert refused_in(tmp_path) == [(events[0].session_id, 5)]


async def test_a_row_the_database_cannot_hold_blocks_no_other(store: PgStore, tell: Tell) -> None:
    """The step's number does not fit the database's integer; neighbours in the same batch are stored."""
    before, after = tell(), tell()
    bad = Event(session_id=new_id(), seq=1, at=now(), body=Attempted(attempt=Attempt(step=2**40, output="x")))
    await store.append([*before, bad, *after])
    told = await store.flush()
    assert (told.accepted, told.refused, told.waiting) == (len(before) + len(after) + 1, 1, 0)
    for events in (before, after):
        assert await store.events(events[0].session_id) == events


async def test_bad_ids_and_numbers_are_turned_away_at_the_door(store: PgStore) -> None:
    event = Event(session_id="nobody", seq=1, at=now(), body=Finished(status="failed"))
    with pytest.raises(StoreError, match="no session id"):
        await store.append([event])
    with pytest.raises(StoreError, match="not between"):
        await store.append([event.model_copy(update={"session_id": new_id(), "seq": 0})])
    assert (await store.flush()).accepted == 0


async def test_playbooks_are_written_by_compare_and_swap(either: Store, tell: Tell) -> None:
    key = new_id()
    session = await put(either, tell(key=key))
    await either.commit(session, [book(key, 1)])
    await either.publish([book(key, 2)])
    for stale in ([book(key, 2)], [book(key, 4)], [book(key, 3), book(key, 3)]):
        with pytest.raises(StaleVersion):
            await either.commit(session, stale)
    assert (await either.playbook("default", key, "student")).version == 2
    assert await either.playbook("default", key, "student", 1) == book(key, 1).model_copy(
        update={"created_at": (await either.playbook("default", key, "student", 1)).created_at}
    )
    assert (await either.playbook("default", key, "teacher")).version == 0
    assert (await either.playbook("other tenant", key, "student")).version == 0


async def test_a_commit_whose_reply_was_lost_is_sent_again_and_counts_once(
    store: PgStore, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_id()
    session = await put(store, tell(key=key))
    database = store._database  # pyright: ignore[reportPrivateUsage]
    real = database._fetch  # pyright: ignore[reportPrivateUsage]

    async def lossy(name: str, args: tuple[object, ...]) -> Any:
        await real(name, args)
        monkeypatch.setattr(database, "_fetch", real)
        raise ConnectionResetError("the reply was lost")

    monkeypatch.setattr(database, "_fetch", lossy)
    await store.commit(session, [book(key, 1)])
    assert (await store.playbook("default", key, "student")).version == 1
    with pytest.raises(StaleVersion):
        await store.commit(session, [book(key, 1)])


async def test_a_stale_commit_writes_nothing(store: PgStore, tell: Tell, sql: Any) -> None:
    key = new_id()
    session = await put(store, tell(key=key))
    with pytest.raises(StaleVersion):
        await store.commit(session, [book(key, 7)])
    assert await sql.fetchval("SELECT reward FROM sessions WHERE uid = $1", uuid.UUID(session.id)) is None


async def test_background_has_playbooks_and_outcomes_newest_first(either: Store, tell: Tell) -> None:
    key = new_id()
    first = await put(either, tell(key=key))
    second = await put(either, tell(key=key))
    await either.commit(first, [book(key, 1)])
    await either.commit(second)
    known = await either.background("default", key, limit=10)
    assert known.student.version == 1
    assert known.student.entries == book(key, 1).entries
    assert [outcome.at for outcome in known.outcomes] == [second.finished_at, first.finished_at]
    assert [(o.lane, o.reward, o.first_try) for o in known.outcomes] == [("auto", 0.9, True)] * 2
    words = hashlib.md5(first.task.prompt.encode(), usedforsecurity=False).hexdigest()
    assert (known.outcomes[1].task, known.outcomes[1].policy) == (words, first.policy)
    assert len((await either.background("default", key, limit=1)).outcomes) == 1
    assert (await either.background("default", "new", limit=3)).outcomes == ()


async def test_sessions_are_listed_newest_first_over_pages(either: Store, tell: Tell) -> None:
    key = new_id()
    told = [await put(either, tell(key=key)) for _ in range(5)]
    running = tell(key=key)[:4]
    await put(either, running)
    listed = [row.id async for row in either.sessions(learning_key=key)]
    assert listed == [running[0].session_id, *(session.id for session in reversed(told))]
    assert [row.id async for row in either.sessions(learning_key=key, limit=2)] == listed[:2]
    done = [row async for row in either.sessions(learning_key=key, status="succeeded")]
    assert [row.id for row in done] == listed[1:]
    assert (done[0].lane, done[0].tokens, done[0].prompt) == ("auto", 75, told[0].task.prompt)


async def test_many_sessions_take_many_pages(store: PgStore, monkeypatch: pytest.MonkeyPatch, tell: Tell) -> None:
    monkeypatch.setattr("atlas.store.postgres.PAGE", 3)
    key = new_id()
    for _ in range(7):
        await store.append(tell(key=key)[:1])
    await store.flush()
    assert len({row.id async for row in store.sessions(learning_key=key)}) == 7
    assert len([row async for row in store.sessions(learning_key=key, limit=5)]) == 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, payload=st.dictionaries(texts, st.one_of(texts, numbers, st.lists(numbers, max_size=3)), max_size=4))
async def test_any_string_and_number_comes_back_from_the_database(
    store: PgStore, text: str, payload: dict[str, Any]
) -> None:
    long = f"{text} and enough besides to be remembered by the pool of this session: {text * 3}" + "." * 40
    task = Task(prompt=text, payload=payload, learning_key=text, tenant=text)
    bodies = [
        SessionStarted(task=task, metadata=payload),
        Attempted(
            attempt=Attempt(output=long, tools=(ToolUse(call=ToolCall(id="1", name="t", arguments=text), output=long),))
        ),
        Answered(answer=f"{long}{text}{long}"),
        Finished(status="succeeded"),
    ]
    uid = new_id()
    events = [Event(session_id=uid, seq=seq, at=now(), body=body) for seq, body in enumerate(bodies, start=1)]
    await store.append(events)
    told = await store.flush()
    assert told.refused == told.waiting == 0
    assert written(await store.events(uid)) == written(events)
    await store.commit(rebuild(events))
    (row,) = [row async for row in store.sessions(limit=1)]
    assert (row.id, row.prompt, row.learning_key) == (uid, text, text)


async def test_one_answer_is_in_the_database_at_most_twice(store: PgStore, tell: Tell, sql: Any) -> None:
    answer = "The three invoices add up to sixty; this sentence is nowhere else. " + new_id()
    session = await put(store, tell(answer=answer))
    await store.commit(session)
    copies = 0
    for table, column in await sql.fetch(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    ):
        if table.startswith("events_"):
            continue
        copies += await sql.fetchval(
            f"SELECT coalesce(sum((length({column}::text) - length(replace({column}::text, $1, ''))) / length($1)), 0)"
            f" FROM {table}",
            answer,
        )
    assert 1 <= copies <= 2


async def test_the_contract_tables_tell_an_auto_session(store: PgStore, tell: Tell, sql: Any) -> None:
    key = new_id()
    session = await put(store, tell(key=key))
    await store.commit(session, [book(key, 1)])
    row = await sql.fetchrow("SELECT * FROM sessions WHERE metadata ->> 'learning_key' = $1", key)
    assert (row["task"], row["status"], row["final_answer"]) == (session.task.prompt, "succeeded", session.answer)
    assert json.loads(row["metadata"])["team"] == "blue"
    assert json.loads(row["metadata"])["adaptive_summary"]["adaptive_mode"] == "auto"
    assert json.loads(row["reward"])["judges"][0]["identifier"] == "rubric"
    assert json.loads(row["reward_stats"])["score"] == 0.9
    assert row["student_learning"] == "Recompute totals."
    assert (row["review_status"], row["completed_at"]) == ("pending", session.finished_at)
    step = await sql.fetchrow("SELECT * FROM step_results WHERE session_id = $1", row["id"])
    assert (step["step_id"], step["output"], step["attempts"]) == (0, session.answer, 1)
    assert json.loads(step["evaluation"])["validation"]["valid"] is True
    assert json.loads(step["evaluation"])["reward"]["score"] == 0.9
    plan = json.loads(await sql.fetchval("SELECT plan FROM plans WHERE session_id = $1", row["id"]))
    assert [(one["id"], one["description"]) for one in plan["steps"]] == [(0, session.task.prompt)]
    found = await sql.fetch("SELECT id, event FROM trajectory_events WHERE session_id = $1 ORDER BY id", row["id"])
    assert len(found) == len(tell())
    assert session.answer in json.loads(found[6]["event"])["request"]["messages"][0]["content"]
    learnt = await sql.fetchrow("SELECT * FROM learning_registry WHERE learning_key = $1", key)
    assert learnt["student_learning"] == "check the sum twice"
    assert json.loads(learnt["metadata"])["playbook_entries"][0]["id"] == "e1"


async def test_the_contract_tables_tell_a_coached_session(store: PgStore, sql: Any) -> None:
    plan = Plan(steps=(Step(id=1, description="read the amounts"), Step(id=2, description="add them", depends_on=(1,))))
    guidance = "The second amount is missing; read the list again from the start, then write all three."
    bodies = [
        SessionStarted(task=Task(prompt="sum")),
        Routed(route=Route(lane="coach")),
        Planned(plan=plan),
        Attempted(attempt=Attempt(step=1, output="10, 30")),
        Reviewed(review=Review(target="step", step=1, accepted=False, guidance=guidance)),
        Attempted(attempt=Attempt(step=1, number=2, output="10, 20, 30", guidance=guidance)),
        Reviewed(review=Review(target="step", step=1, attempt=2, accepted=True)),
        Attempted(attempt=Attempt(step=2, output="60")),
        Reviewed(review=Review(target="step", step=2, accepted=True)),
        Attempted(attempt=Attempt(output="It is 60.")),
        Answered(answer="It is 60."),
        Finished(status="succeeded"),
        Rewarded(reward=Reward(value=1.0, source="check", steps=(StepReward(step=1, attempt=2, value=0.75),))),
    ]
    uid = new_id()
    session = await put(
        store, [Event(session_id=uid, seq=n, at=now(), body=body) for n, body in enumerate(bodies, start=1)]
    )
    await store.commit(session)
    number = await sql.fetchval("SELECT id FROM sessions WHERE uid = $1", uuid.UUID(uid))
    steps = await sql.fetch("SELECT * FROM step_results WHERE session_id = $1 ORDER BY step_id", number)
    assert [(s["step_id"], s["output"], s["attempts"]) for s in steps] == [(1, "10, 20, 30", 2), (2, "60", 1)]
    assert json.loads(steps[0]["evaluation"])["reward"]["score"] == 0.75
    tries = await sql.fetch(
        "SELECT * FROM step_attempts WHERE session_id = $1 AND step_id = 1 ORDER BY attempt", number
    )
    assert [json.loads(one["evaluation"])["validation"]["valid"] for one in tries] == [False, True]
    notes = await sql.fetch("SELECT step_id, sequence, note FROM guidance_notes WHERE session_id = $1", number)
    assert [tuple(note) for note in notes] == [(1, 1, guidance)]
    told = json.loads(await sql.fetchval("SELECT plan FROM plans WHERE session_id = $1", number))
    assert [one["depends_on"] for one in told["steps"]] == [[], [1]]


async def test_a_session_costs_four_round_trips_at_most(url: str, tmp_path: Path, tell: Tell) -> None:
    store = await open_postgres(url, folder=tmp_path, sizes=(1, 1))
    key = new_id()
    await store.background("default", key, limit=5)
    await put(store, tell(key=key))
    await store.commit(rebuild(tell(key=key)))
    trips = 0
    real = store._database.rows  # pyright: ignore[reportPrivateUsage]

    async def counted(name: str, *args: object) -> Any:
        nonlocal trips
        trips += 1
        return await real(name, *args)

    store._database.rows = counted  # type: ignore[method-assign]
    await store.background("default", key, limit=5)
    session = await put(store, tell(key=key))
    await store.commit(session)
    await store.close()
    assert trips - 1 <= 4  # less the lease, once a process


async def test_a_dead_database_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await open_store("postgresql://me:hunter2@127.0.0.1:1/atlas", folder=tmp_path, embedded=True)
    assert "127.0.0.1:1/atlas" in str(caught.value)
    assert "storage.database_url" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_url_that_is_none_is_named_without_its_password(tmp_path: Path) -> None:
    for url in ("mysql://me:hunter2@host/db", "postgresql://me:hun:ter2@host:port/db", "hunter2"):
        with pytest.raises(StoreUnavailable) as caught:
            await open_store(url, folder=tmp_path, embedded=False)
        assert "hunter2" not in str(caught.value)
        assert "ter2" not in str(caught.value)


async def test_a_statement_that_takes_too_long_is_an_error(url: str, tmp_path: Path) -> None:
    store = await open_postgres(url, folder=tmp_path, statement_timeout_s=0.05)
    blocker = await asyncpg.connect(url)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE playbooks IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable, match="statement_timeout_seconds"):
                await store.background("default", "k", limit=1)
    finally:
        await blocker.close()
        await store.close()


async def test_no_storage_is_memory(tmp_path: Path) -> None:
    assert isinstance(await open_store(None, folder=tmp_path, embedded=False), MemoryStore)


async def test_closing_twice_is_harmless_and_flush_still_tells(url: str, tmp_path: Path, tell: Tell) -> None:
    store = await open_postgres(url, folder=tmp_path)
    await store.append(tell())
    await store.close()
    await store.close()
    told = await store.flush()
    assert told.stored == told.accepted == len(tell())
    assert spools_in(tmp_path) == []


async def test_an_event_of_a_newer_version_is_named(store: PgStore, tell: Tell, sql: Any) -> None:
    session = await put(store, tell())
    await sql.execute(
        """UPDATE events SET payload = payload || '{"new": 1}' WHERE session = $1 AND seq = 6""", uuid.UUID(session.id)
    )
    with pytest.raises(StoreError, match=r"Event 6 .*new.*upgrade"):
        await store.events(session.id)


async def test_four_stores_at_once_lose_nothing(url: str, tmp_path: Path, tell: Tell) -> None:
    stores = await asyncio.gather(*(open_postgres(url, folder=tmp_path / str(n), sizes=(1, 2)) for n in range(4)))
    told = [tell() for _ in range(40)]
    await asyncio.gather(*(stores[n % 4].append([event]) for n, events in enumerate(told) for event in events))
    for store in stores:
        assert (await store.flush()).waiting == 0
    for n, events in enumerate(told):
        assert await stores[(n + 1) % 4].events(events[0].session_id) == events
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("tokens", [2**63, 10**30, 10**400, -(10**20)])
@pytest.mark.parametrize("cost", [float("nan"), float("inf"), 1e300])
async def test_numbers_that_no_model_can_mean_are_stored_as_they_are(
    store: PgStore, tell: Tell, tokens: int, cost: float
) -> None:
    events = tell()
    call = events[4].body
    usage = Usage(calls=1, prompt_tokens=tokens, completion_tokens=tokens, cost_usd=cost)
    body = call.model_copy(update={"completion": call.completion.model_copy(update={"usage": usage})})
    events[4] = events[4].model_copy(update={"body": body})
    session = await put(store, events)
    await store.commit(session)
    assert written(await store.events(session.id)) == written(events)
    assert [row.id async for row in store.sessions(limit=1)] == [session.id]
