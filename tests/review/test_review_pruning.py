"""What is deleted is gone, what must stay stays, and whole weeks go at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from review_kit import events_of, put, story

from atlas.schema import Cue, Entry, Playbook, Provenance, Task, now, rebuild
from atlas.schema.errors import ConfigError
from atlas.store.open import open_database
from atlas.store.postgres import PgStore
from atlas.store.pruning import Doomed, Pruned, prune, would_prune
from atlas.store.review import ReviewDesk

EVENTS = len(story())


async def one(url: str, sql: str, *args: object) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


async def old(store: PgStore, url: str, days: int, *, tenant: str = "default") -> str:
    """A session that started so many days ago, in the partition of its week."""
    moment = now() - timedelta(days=days)
    await one(url, "SELECT atlas_partition($1::timestamptz AT TIME ZONE 'UTC')", moment)
    return await put(store, events_of(story(task=Task(prompt="old", tenant=tenant)), at=moment))


async def weeks(url: str) -> object:
    return await one(url, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")


async def test_whole_weeks_are_dropped_and_the_rest_is_deleted(store: PgStore, url: str) -> None:
    gone = [await old(store, url, days) for days in (100, 101, 60)]
    kept = [await old(store, url, days) for days in (3, 0)]
    before = await weeks(url)
    doomed = Doomed(before=now() - timedelta(days=30))
    async with open_database(url) as database:
        would = await would_prune(database, doomed)
        did = await prune(database, doomed, who="ada")
        assert would == did
        assert (did.sessions, did.events) == (3, 3 * EVENTS)
        assert did.weeks >= 2
        assert await prune(database, doomed, who="ada") == Pruned()
        assert [(line.who, line.what) for line in await ReviewDesk(database).trail(gone[0])] == [("ada", "deleted")]
    assert await weeks(url) == before - did.weeks  # pyright: ignore[reportOperatorIssue]
    assert await one(url, "SELECT count(*) FROM events") == 2 * EVENTS
    assert {row.id async for row in store.sessions()} == set(kept)
    assert await store.session(gone[0]) is None


async def test_other_tenants_and_approved_sessions_stay(store: PgStore, url: str) -> None:
    mine, approved = await old(store, url, 100), await old(store, url, 100)
    theirs = await old(store, url, 100, tenant="other")
    async with open_database(url) as database:
        await ReviewDesk(database).decide(approved, "approved", who="ada")
        doomed = Doomed(before=now() - timedelta(days=30), tenant="default", keep_approved=True)
        assert await prune(database, doomed, who="ada") == Pruned(sessions=1, events=EVENTS)
        left = {row.id async for row in store.sessions()}
        assert left == {approved, theirs}
        assert await store.session(mine) is None
        assert await prune(database, Doomed(tenant="other"), who="ada") == Pruned(sessions=1, events=EVENTS)
        assert len(await store.events(approved)) == EVENTS


async def test_a_running_session_stays(store: PgStore, url: str) -> None:
    events = events_of(story()[:3])
    await put(store, events, commit=False)
    async with open_database(url) as database:
        assert await prune(database, Doomed(session_id=events[0].session_id), who="ada") == Pruned()
        with pytest.raises(ConfigError):
            await prune(database, Doomed(session_id="ffff"), who="ada")
    assert len(await store.events(events[0].session_id)) == 3


async def test_what_was_learnt_stays_and_names_its_source(store: PgStore, url: str) -> None:
    events = events_of(story())
    await store.append(events)
    await store.flush()
    uid = events[0].session_id
    lesson = Entry(id="e", audience="student", cue=Cue(), action="Sum twice.", provenance=Provenance(sessions=(uid,)))
    await store.commit(rebuild(events), [Playbook(key="k", audience="student", version=1, entries=(lesson,))])
    async with open_database(url) as database:
        await ReviewDesk(database).decide(uid, "approved", who="ada", note="about a person")
        await prune(database, Doomed(session_id=uid), who="ada")
        trail = await ReviewDesk(database).trail(uid)
    book = await store.playbook("default", "k", "student")
    assert book.entries[0].provenance.sessions == (uid,)
    assert [(line.what, line.note) for line in trail] == [("approved", None), ("deleted", None)]


async def test_writing_goes_on_while_weeks_are_dropped(store: PgStore, url: str) -> None:
    for days in range(40, 120, 7):
        await old(store, url, days)
    fresh = [events_of(story()) for _ in range(20)]
    doomed = Doomed(before=now() - timedelta(days=30))
    async with open_database(url) as database:
        _, did = await asyncio.gather(
            asyncio.gather(*(store.append(events) for events in fresh)), prune(database, doomed, who="ada")
        )
    told = await store.flush()
    assert (told.refused, told.waiting) == (0, 0)
    assert did.sessions == 12
    assert {row.id async for row in store.sessions()} == {events[0].session_id for events in fresh}
