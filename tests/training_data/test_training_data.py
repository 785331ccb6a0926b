"""The documented functions on a database that the loop has filled."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from export_kit import Bases, approve, execute, exported, imported

import atlas.training_data as face
from atlas.export import Reader
from atlas.schema import Session
from atlas.schema.errors import ConfigError, StoreError
from atlas.store.embedded import start_embedded
from atlas.training_data import (
    SessionRecord,
    count_training_sessions,
    count_training_sessions_async,
    get_session_by_id,
    get_session_by_id_async,
    get_training_sessions,
    get_training_sessions_async,
    paginate_sessions,
)

Filled = tuple[str, dict[str, Session]]
ALL = ("pending", "approved", "quarantined")


def tasks(records: list[SessionRecord]) -> list[str]:
    return [record.session_id for record in records]


@pytest.fixture
def newest_first(filled: Filled) -> list[str]:
    return [session.id for session in filled[1].values()][::-1]


async def test_only_approved_sessions_are_read_unless_told(
    filled: Filled, bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exported(filled[0], tmp_path / "a.jsonl")
    url = await bases.new()
    await imported(url, tmp_path / "a.jsonl", tmp_path)
    coach, auto = filled[1]["coach"].id, filled[1]["auto"].id
    await approve(url, coach)
    await execute(url, "UPDATE sessions SET review_status = 'quarantined' WHERE uid = $1", auto)
    assert tasks(await get_training_sessions_async(url)) == [coach]
    assert await count_training_sessions_async(url) == 1
    assert tasks(await get_training_sessions_async(url, review_status_filters=["quarantined"])) == [auto]
    assert [tasks(batch) async for batch in paginate_sessions(url)] == [[coach]]
    monkeypatch.setenv("ATLAS_REVIEW_REQUIRE_APPROVAL", "0")
    assert len(await get_training_sessions_async(url)) == 7
    assert await count_training_sessions_async(url, review_status_filters=ALL) == 8


async def test_filters_limit_and_offset(filled: Filled, newest_first: list[str]) -> None:
    url, sessions = filled
    at = sessions["coach"].created_at

    async def found(**query: Any) -> list[str]:
        records = await get_training_sessions_async(url, review_status_filters=ALL, **query)
        bare = {name: value for name, value in query.items() if name not in ("limit", "offset")}
        assert await count_training_sessions_async(url, review_status_filters=ALL, **bare) >= len(records)
        return tasks(records)

    assert await found() == newest_first
    assert await found(limit=3, offset=2) == newest_first[2:5]
    assert await found(limit=None, offset=6) == newest_first[6:]
    assert await found(learning_key="weeks") == [sessions["coach"].id]
    assert await found(status_filters=["failed"]) == [sessions["failed"].id]
    assert len(await found(min_reward=0.5)) == 6
    assert await found(min_reward=0.95) == await found(max_reward=0.5) == []
    assert len(await found(min_reward=0.0, max_reward=1.0)) == 6
    assert len(await found(created_after=at)) == 6
    assert len(await found(start_date=at, created_after=at - timedelta(days=1))) == 6
    assert len(await found(end_date=at.replace(tzinfo=None))) == 3


async def test_what_is_not_asked_for_is_not_loaded(filled: Filled) -> None:
    query: dict[str, Any] = {"review_status_filters": ALL}
    whole = await get_training_sessions_async(filled[0], **query)
    light = await get_training_sessions_async(filled[0], include_trajectory_events=False, **query)
    assert [record.model_copy(update={"trajectory_events": None}) for record in whole] == light
    bare = await get_training_sessions_async(filled[0], include_learning_data=False, **query)
    for record in bare:
        assert record.session_reward is record.student_learning is record.adaptive_summary is None
        assert record.trajectory_events
    assert [record.steps for record in bare] == [record.steps for record in whole]


async def test_events_are_in_order_with_their_texts(filled: Filled) -> None:
    (record,) = await get_training_sessions_async(filled[0], review_status_filters=ALL, learning_key="weeks")
    events = record.trajectory_events or ()
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    answers = [event.event["answer"] for event in events if event.type == "answered"]
    assert answers == [record.final_answer]


async def test_a_session_is_found_by_uuid_beginning_and_number(filled: Filled) -> None:
    url, sessions = filled
    wanted = sessions["tool"].id
    number = (await execute(url, "SELECT id FROM sessions WHERE uid = $1", wanted))[0]["id"]
    for session_id in (wanted, UUID(wanted), wanted[:35], number, str(number)):
        record = await get_session_by_id_async(url, session_id)
        assert record is not None
        assert record.session_id == wanted
    assert await get_session_by_id_async(url, 10**6) is None
    assert await get_session_by_id_async(url, "01900000-0000-7000-8000-000000000000") is None
    with pytest.raises(StoreError, match="Several sessions begin"):
        await get_session_by_id_async(url, wanted[:4])
    with pytest.raises(ConfigError, match="no session id"):
        await get_session_by_id_async(url, "seventh")


async def test_batches_make_the_whole(filled: Filled, newest_first: list[str]) -> None:
    url = filled[0]
    for size in (1, 3, 8, 100):
        batches = [batch async for batch in paginate_sessions(url, batch_size=size, review_status_filters=ALL)]
        assert all(len(batch) == size for batch in batches[:-1])
        assert [record.session_id for batch in batches for record in batch] == newest_first
    limited = [batch async for batch in paginate_sessions(url, batch_size=3, limit=5, review_status_filters=ALL)]
    assert [len(batch) for batch in limited] == [3, 2]
    async for _ in paginate_sessions(url, batch_size=2, review_status_filters=ALL):
        break  # A reader that stops early gives its connection back.
    with pytest.raises(ConfigError, match="batch_size"):
        await anext(paginate_sessions(url, batch_size=0))


async def test_the_number_of_queries_does_not_grow(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("_rows", "_stream"):
        original = getattr(Reader, name)

        def counting(self: Reader, query: str, *args: object, original: Any = original, **more: Any) -> Any:
            asked.append(query)
            return original(self, query, *args, **more)

        monkeypatch.setattr(Reader, name, counting)
    for limit in (1, 8):
        asked.clear()
        await get_training_sessions_async(filled[0], review_status_filters=ALL, limit=limit)
        assert asked == ["sessions", "events"]
        asked.clear()
        await get_training_sessions_async(
            filled[0], review_status_filters=ALL, limit=limit, include_trajectory_events=False
        )
        assert len(asked) <= 3


def test_the_sync_functions_say_the_same(filled: Filled, newest_first: list[str]) -> None:
    url = filled[0]
    assert tasks(get_training_sessions(url, review_status_filters=ALL)) == newest_first
    assert count_training_sessions(url, review_status_filters=ALL, min_reward=0.5) == 6
    record = get_session_by_id(url, newest_first[0])
    assert record is not None
    assert record.task == "Fail."


async def test_the_sync_functions_work_inside_a_running_loop(filled: Filled, newest_first: list[str]) -> None:
    assert tasks(get_training_sessions(filled[0], review_status_filters=ALL)) == newest_first
    with pytest.raises(ConfigError):
        count_training_sessions(filled[0], status_filters=["done"])


@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ({"status_filters": ["done"]}, "statuses"),
        ({"review_status_filters": ["good"]}, "reviews"),
        ({"limit": -1}, "limit"),
        ({"offset": -1}, "offset"),
        ({"min_reward": float("nan")}, "min_reward"),
    ],
)
async def test_a_filter_that_cannot_be_meant_is_refused(filled: Filled, query: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        await get_training_sessions_async(filled[0], **query)


@pytest.fixture
def project() -> Iterator[Path]:
    """A short folder that an unprivileged user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="atlas-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_a_projects_own_database_is_named_by_its_folder(filled: Filled, tmp_path: Path, project: Path) -> None:
    await exported(filled[0], tmp_path / "a.jsonl")
    share = await start_embedded(project / ".atlas")
    try:
        await imported(share.dsn, tmp_path / "a.jsonl", tmp_path)
    finally:
        await share.close()
    for where in (project / ".atlas", project, f"atlas://{project / '.atlas'}"):
        assert await count_training_sessions_async(where, review_status_filters=ALL) == 8
    with pytest.raises(ConfigError, match="no database in"):
        await count_training_sessions_async(tmp_path)


def test_the_face_is_what_is_documented() -> None:
    documented = ["get_training_sessions", "get_session_by_id", "count_training_sessions"]
    for name in documented:
        assert callable(getattr(face, name))
        assert callable(getattr(face, f"{name}_async"))
    assert callable(face.paginate_sessions)
