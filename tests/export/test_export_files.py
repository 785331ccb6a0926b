"""Exporting to files: what passes, what is written, and what a failure leaves."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from export_kit import EVERY, Bases, approve, execute, exported, records_of, store_bodies

from atlas.config import ReviewConfig
from atlas.export import Order, Reader, Selection, export, open_reader, reviews_allowed
from atlas.export.files import LineSink, line_file
from atlas.schema import Attempt, Body, Reward, Session, Task
from atlas.schema.errors import ConfigError, StoreError, StoreUnavailable
from atlas.schema.events import Answered, Attempted, Finished, Rewarded, SessionStarted

Filled = tuple[str, dict[str, Session]]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ids(path: Path) -> list[str]:
    return [line["session_id"] for line in lines(path)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def short(number: int, key: str = "numbers") -> list[Body]:
    text = f"The answer to question number {number} is {number}, which is long enough for the pool to remember it well."
    return [
        SessionStarted(task=Task(prompt=f"Question {number}?", learning_key=key)),
        Attempted(attempt=Attempt(output=text)),
        Answered(answer=text),
        Finished(status="succeeded"),
        Rewarded(reward=Reward(value=number / 100, source="check")),
    ]


@pytest.fixture(scope="session")
def many(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A database with 60 sessions of three keys; the ids of its sessions, newest first."""

    async def fill() -> tuple[str, list[str]]:
        url = await bases.new()
        sessions = [short(number, f"key-{number % 3}") for number in range(60)]
        made = await store_bodies(tmp_path_factory.mktemp("many"), url, *sessions)
        for number, uid in enumerate(made):
            await execute(
                url,
                "UPDATE sessions SET reward_stats = jsonb_build_object('score', $1::float8) WHERE uid = $2",
                number / 100,
                uid,
            )
        return url, made[::-1]

    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(lambda: asyncio.run(fill())).result()


async def test_pages_make_one_whole_newest_first(many: tuple[str, list[str]], tmp_path: Path) -> None:
    url, newest_first = many
    for page in (1, 7, 60, 500):
        told = await exported(url, tmp_path / "all.jsonl", page=page)
        assert (told.sessions, told.rows, told.left_out) == (60, 60, 0)
        assert ids(tmp_path / "all.jsonl") == newest_first


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"limit": 5}, range(59, 54, -1)),
        ({"limit": 5, "offset": 10}, range(49, 44, -1)),
        ({"limit": 0}, ()),
        ({"offset": 58}, (1, 0)),
        ({"learning_key": "key-1", "limit": 3}, (58, 55, 52)),
        ({"learning_key": "key-1", "offset": 18}, (4, 1)),
        ({"min_reward": 0.57}, (59, 58, 57)),
        ({"max_reward": 0.02}, (2, 1, 0)),
        ({"min_reward": 0.1, "max_reward": 0.5, "limit": 2, "offset": 1}, (49, 48)),
        ({"tenant": "nobody"}, ()),
        ({"statuses": ("failed",)}, ()),
        ({"statuses": ("failed", "succeeded"), "limit": 1}, (59,)),
    ],
)
async def test_filters_come_before_limit_and_offset(
    many: tuple[str, list[str]], tmp_path: Path, changes: dict[str, Any], expected: Any
) -> None:
    selection = EVERY.model_copy(update=changes)
    await exported(many[0], tmp_path / "some.jsonl", selection, page=4)
    assert [int(line["task"].split()[1][:-1]) for line in lines(tmp_path / "some.jsonl")] == list(expected)
    async with open_reader(many[0]) as reader:
        bare = selection.model_copy(update={"limit": None, "offset": 0})
        assert await reader.count(bare) >= len(list(expected))


async def test_times_are_filters(many: tuple[str, list[str]], tmp_path: Path) -> None:
    (record,) = await records_of(many[0], EVERY.model_copy(update={"limit": 1, "offset": 30}))
    at = record.created_at
    from_then = await records_of(many[0], Selection(reviews=None, created_from=at))
    until_then = await records_of(many[0], Selection(reviews=None, created_until=at))
    assert (len(from_then), len(until_then)) == (31, 30)
    naive = Selection(created_from=at.replace(tzinfo=None))
    assert naive.created_from == at


async def test_a_session_is_named_by_id_beginning_or_number(many: tuple[str, list[str]]) -> None:
    url, newest_first = many
    number = (await execute(url, "SELECT id FROM sessions WHERE uid = $1", newest_first[0]))[0]["id"]
    for name in (newest_first[0], newest_first[0].upper(), newest_first[0][:-2], str(number)):
        found = await records_of(url, Selection(ids=(name,), reviews=None))
        assert newest_first[0] in [record.session_id for record in found]
    assert await records_of(url, Selection(ids=("999999",), reviews=None)) == []
    with pytest.raises(ConfigError, match="no session id"):
        await records_of(url, Selection(ids=("nonsense",), reviews=None))
    with pytest.raises(StoreError, match="Several sessions begin"):
        await records_of(url, Selection(ids=(newest_first[0][:6],), reviews=None))


async def test_only_approved_sessions_pass_unless_told(bases: Bases, tmp_path: Path) -> None:
    url = await bases.new()
    first, second, third = await store_bodies(tmp_path, url, short(1), short(2), short(3))
    assert (await exported(url, tmp_path / "none.jsonl", Selection())).sessions == 0
    await approve(url, first)
    await execute(url, "UPDATE sessions SET review_status = 'quarantined' WHERE uid = $1", third)
    await exported(url, tmp_path / "one.jsonl", Selection())
    assert ids(tmp_path / "one.jsonl") == [first]
    local = Selection(reviews=reviews_allowed(None, {"ATLAS_REVIEW_REQUIRE_APPROVAL": "0"}))
    await exported(url, tmp_path / "two.jsonl", local)
    assert ids(tmp_path / "two.jsonl") == [second, first]


@pytest.mark.parametrize(
    ("config", "environ", "options", "passing"),
    [
        (None, {}, {}, ("approved",)),
        (None, {"ATLAS_REVIEW_REQUIRE_APPROVAL": "0"}, {}, ("approved", "pending")),
        (None, {"ATLAS_REVIEW_REQUIRE_APPROVAL": "1"}, {}, ("approved",)),
        (ReviewConfig(require_approval=False), {}, {}, ("approved", "pending")),
        (ReviewConfig(require_approval=False), {"ATLAS_REVIEW_REQUIRE_APPROVAL": "true"}, {}, ("approved",)),
        (ReviewConfig(default_export_statuses=("pending",)), {}, {}, ("pending",)),
        (None, {"ATLAS_REVIEW_DEFAULT_EXPORT_STATUSES": "pending, quarantined"}, {}, ("pending", "quarantined")),
        (None, {"ATLAS_REVIEW_DEFAULT_EXPORT_STATUSES": "all"}, {}, None),
        (None, {}, {"also": ["quarantined", "approved"]}, ("approved", "quarantined")),
        (None, {}, {"every": True}, None),
    ],
)
def test_the_gate_is_configured(
    config: ReviewConfig | None, environ: dict[str, str], options: dict[str, Any], passing: tuple[str, ...] | None
) -> None:
    assert reviews_allowed(config, environ, **options) == passing


def test_the_gate_refuses_a_state_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="aproved"):
        reviews_allowed(None, {"ATLAS_REVIEW_DEFAULT_EXPORT_STATUSES": "aproved"})


async def test_the_number_of_queries_does_not_grow_with_the_sessions(
    many: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("_rows", "_stream"):
        original = getattr(Reader, name)

        def counting(self: Reader, query: str, *args: object, original: Any = original, **more: Any) -> Any:
            asked.append(query)
            return original(self, query, *args, **more)

        monkeypatch.setattr(Reader, name, counting)
    for limit in (1, 60):
        asked.clear()
        await records_of(many[0], EVERY.model_copy(update={"limit": limit}), events=True)
        assert asked == ["sessions", "events"]


async def test_a_name_says_how_it_is_compressed(many: tuple[str, list[str]], tmp_path: Path) -> None:
    await exported(many[0], tmp_path / "a.jsonl")
    await exported(many[0], tmp_path / "a.jsonl.gz")
    plain, packed = (tmp_path / "a.jsonl").read_bytes(), (tmp_path / "a.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    await exported(many[0], tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == packed


async def test_zstandard_is_used_where_it_is_installed(many: tuple[str, list[str]], tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    await exported(many[0], tmp_path / "a.jsonl.zst")
    with line_file(str(tmp_path / "b.jsonl")) as (sink, _):
        import zstandard

        with zstandard.open(tmp_path / "a.jsonl.zst", "rt", encoding="utf-8") as unpacked:
            for line in unpacked:
                sink.write(line.rstrip("\n"))
    await exported(many[0], tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(("package", "options"), [("zstandard", {}), ("pyarrow", {"format": "parquet"})])
async def test_a_package_that_is_not_installed_is_named(
    many: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, options: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=package):
        await exported(many[0], tmp_path / "a.zst", **options)
    assert names(tmp_path) == []


async def test_a_failure_leaves_the_older_file_and_the_part(many: tuple[str, list[str]], tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    output.write_text("older\n")

    def stop(told: Any) -> None:
        if told.rows == 10:
            raise StoreUnavailable("the database went away")

    async with open_reader(many[0]) as reader:
        with pytest.raises(StoreUnavailable):
            await export(reader, Order(output=str(output), selection=EVERY), progress=stop)
    assert output.read_text() == "older\n"
    assert len(lines(tmp_path / "a.jsonl.part")) == 10
    told = await exported(many[0], output, resume=True)
    assert (told.resumed, told.rows) == (True, 50)
    assert ids(output) == many[1]
    assert names(tmp_path) == ["a.jsonl"]


async def test_a_database_that_dies_on_the_way_costs_nothing_that_was_written(
    many: tuple[str, list[str]], tmp_path: Path
) -> None:
    def cut(told: Any) -> None:
        if told.rows == 12:
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atlas export'"
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(lambda: asyncio.run(execute(many[0], end))).result()

    async with open_reader(many[0]) as reader:
        with pytest.raises(StoreUnavailable, match="does not serve"):
            await export(reader, Order(output=str(tmp_path / "a.jsonl"), selection=EVERY, page=5), progress=cut)
    assert 12 <= len(lines(tmp_path / "a.jsonl.part")) < 60
    await exported(many[0], tmp_path / "a.jsonl", resume=True)
    assert ids(tmp_path / "a.jsonl") == many[1]


async def test_an_export_that_is_cancelled_leaves_the_connection_free(
    many: tuple[str, list[str]], tmp_path: Path
) -> None:
    async with open_reader(many[0]) as reader:
        order = Order(output=str(tmp_path / "a.jsonl"), selection=EVERY, page=2)
        work = asyncio.create_task(export(reader, order))
        await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert await reader.count(EVERY) == 60


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("share", [0.0, 0.013, 0.37, 0.5, 0.98, 1.0])
async def test_an_export_that_was_killed_is_continued_to_the_same_bytes(
    many: tuple[str, list[str]], tmp_path: Path, suffix: str, share: float
) -> None:
    whole, part = tmp_path / f"whole.jsonl{suffix}", tmp_path / f"a.jsonl{suffix}.part"
    await exported(many[0], whole)
    cut = whole.read_bytes()
    part.write_bytes(cut[: int(len(cut) * share)])
    await exported(many[0], tmp_path / f"a.jsonl{suffix}", resume=True, page=7)
    again = (tmp_path / f"a.jsonl{suffix}").read_bytes()
    unpack = gzip.decompress if suffix else bytes
    assert unpack(again) == unpack(cut)
    assert not part.exists()


async def test_a_limit_counts_the_lines_that_are_there_when_it_goes_on(
    many: tuple[str, list[str]], tmp_path: Path
) -> None:
    selection = EVERY.model_copy(update={"limit": 9})
    await exported(many[0], tmp_path / "whole.jsonl", selection)
    kept = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl.part").write_text("".join(kept[:4]) + kept[4][:100])
    await exported(many[0], tmp_path / "a.jsonl", selection, resume=True)
    assert (tmp_path / "a.jsonl").read_text() == "".join(kept)


async def test_what_cannot_be_continued_is_refused(many: tuple[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--resume cannot continue --format sft"):
        await exported(many[0], tmp_path / "a.jsonl", format="sft", resume=True)
    (tmp_path / "b.jsonl.part").write_text("no record\n")
    with pytest.raises(ConfigError, match="holds no records"):
        await exported(many[0], tmp_path / "b.jsonl", resume=True)


async def test_a_place_that_cannot_be_written_is_named(many: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        await exported(many[0], tmp_path / "file" / "a.jsonl")


def test_a_full_disk_is_named() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(ConfigError, match="No space left"):
        LineSink(full).write("x")


async def test_standard_output_gets_the_lines(
    many: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    await exported(many[0], Path("-"))
    monkeypatch.undo()
    assert len(out.buffer.getvalue().splitlines()) == 60  # pyright: ignore[reportAttributeAccessIssue]


async def test_sessions_without_events_and_damaged_ones_are_left_out_and_counted(
    bases: Bases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = await bases.new()
    gone, damaged, good = await store_bodies(tmp_path, url, short(1), short(2), short(3))
    await execute(url, "DELETE FROM events WHERE session = $1", gone)
    await execute(url, "DELETE FROM events WHERE session = $1 AND seq = 1", damaged)
    told = await exported(url, tmp_path / "a.jsonl")
    assert (told.sessions, told.rows, told.left_out) == (1, 1, 2)
    assert ids(tmp_path / "a.jsonl") == [good]
    assert damaged in caplog.text


async def test_with_an_event_limit_the_newest_events_stand_alone(many: tuple[str, list[str]], tmp_path: Path) -> None:
    await exported(many[0], tmp_path / "a.jsonl", EVERY.model_copy(update={"limit": 1}), event_limit=3)
    (line,) = lines(tmp_path / "a.jsonl")
    assert [event["type"] for event in line["trajectory_events"]] == ["answered", "finished", "rewarded"]
    assert line["trajectory_events"][0]["event"]["answer"] == line["final_answer"]
    assert line["events_left_out"] == 2


async def test_memory_does_not_grow_with_the_sessions(many: tuple[str, list[str]], tmp_path: Path) -> None:
    import tracemalloc

    async def peak(limit: int) -> int:
        tracemalloc.start()
        try:
            selection = EVERY.model_copy(update={"limit": limit})
            await exported(many[0], tmp_path / "a.jsonl", selection, page=5)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(10)
    assert await peak(60) < await peak(10) + 200_000


async def test_a_line_is_one_line_for_every_reader(bases: Bases, tmp_path: Path) -> None:
    url = await bases.new()
    text = "\u2028\x85\u2029\x0b\x0c\x1c\r\n"
    await store_bodies(tmp_path, url, [SessionStarted(task=Task(prompt=text, payload={text: text}))])
    await exported(url, tmp_path / "a.jsonl")
    (line,) = lines(tmp_path / "a.jsonl")
    assert line["task"] == text
    assert line["status"] == "interrupted"


async def test_a_database_without_our_tables_is_named(bases: Bases, tmp_path: Path) -> None:
    url = await bases.new()
    await execute(url, "DROP TABLE atlas_migrations")
    with pytest.raises(StoreError, match="holds no sessions of Atlas"):
        await exported(url, tmp_path / "a.jsonl")
    with pytest.raises(ConfigError, match="There is no database in"):
        async with open_reader(tmp_path):
            pass
    with pytest.raises(StoreUnavailable):
        async with open_reader("postgresql://nobody@127.0.0.1:9/none"):
            pass


def test_a_moment_without_a_zone_is_utc() -> None:
    naive = datetime(2026, 1, 2)
    assert Selection(created_until=naive).created_until == datetime(2026, 1, 2, tzinfo=UTC)
