"""What the store keeps about learning: every version, the shelf, the ledger. On both stores."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atlas.schema import Cue, Entry, Event, Evidence, Playbook, Recalled, Session, new_id, now, rebuild
from atlas.schema.events import Compared, MemoryRecalled
from atlas.store import MemoryStore, Store

Tell = Callable[..., list[Event]]


@pytest.fixture(params=["memory", "postgres"])
def either(request: pytest.FixtureRequest) -> Store:
    """Both implementations: the same rules."""
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("store")


def book(key: str, version: int) -> Playbook:
    entry = Entry(id=f"e{version}", audience="student", cue=Cue(text="sum"), action="check twice", state="active")
    return Playbook(key=key, tenant="learner", audience="student", version=version, entries=(entry,))


async def put(store: Store, events: list[Event]) -> Session:
    await store.append(events)
    told = await store.flush()
    assert told.waiting == told.refused == 0
    return rebuild(events)


async def test_every_version_is_kept_with_what_it_says_of_itself(either: Store) -> None:
    first = book("sums", 1).model_copy(update={"origin": "session \ueffe\x00", "since": 1})
    second = book("sums", 2).model_copy(update={"evidence": Evidence(n_with=3, log_e_harm=-0.5), "since": 1})
    for version in (first, second):
        await either.publish([version])
    await either.publish([book("other", 1)])
    assert [version async for version in either.versions("learner", "sums", "student")] == [first, second]
    assert await either.playbook("learner", "sums", "student", 1) == first
    assert (await either.background("learner", "sums", limit=1)).student == second
    assert [(one.key, one.version) for one in await either.shelf("learner")] == [("other", 1), ("sums", 2)]
    assert await either.shelf("nobody") == []
    assert [version async for version in either.versions("nobody", "sums", "student")] == []


async def test_the_ledger_tells_what_sessions_say_about_learning(either: Store, tell: Tell) -> None:
    lesson = Entry(id="e", audience="student", cue=Cue(text="sum"), action="check \x00 it " * 20, state="trial")
    seen = Recalled(audience="student", version=2, shown=(lesson,), propensities=(("e", 0.8),), compared="e")
    pair = Compared(audience="student", entry_id="e", shown=True, outcome=0.25)
    told = tell(key="ledger")
    recalled = MemoryRecalled(student=seen, teacher=Recalled(audience="teacher", version=0))
    bodies = [recalled if event.body.type == "memory_recalled" else event.body for event in told]
    events = [event.model_copy(update={"body": body}) for event, body in zip(told, bodies, strict=True)]
    events.append(Event(session_id=told[0].session_id, seq=len(told) + 1, at=now(), body=pair))
    session = await put(either, events)
    await either.commit(session)
    replay = tell(session_id=new_id(), key="ledger")
    start = replay[0].body.model_copy(update={"metadata": {"replay_of": session.id}})
    await put(either, [replay[0].model_copy(update={"body": start}), *replay[1:]])
    rows = [row async for row in either.ledger("default", "ledger")]
    assert [(row.id, row.replay_of) for row in rows] == [
        (session.id, None),
        (replay[0].session_id, session.id),
    ]
    first = rows[0]
    assert (first.student, first.compared, first.policy) == (seen, pair, session.policy)
    assert (first.reward, first.first_try, first.lane) == (0.9, session.first_try, session.route.lane)
    assert [row async for row in either.ledger("nobody")] == []
    assert [row async for row in either.ledger("default", "no such key")] == []


async def test_a_replay_is_no_history_for_the_router(either: Store, tell: Tell) -> None:
    events = tell(key="replayed")
    start = events[0].body.model_copy(update={"metadata": {"replay_of": new_id()}})
    session = await put(either, [events[0].model_copy(update={"body": start}), *events[1:]])
    await either.commit(session)
    task = session.task
    assert (await either.background(task.tenant, task.learning_key, limit=9)).outcomes == ()
