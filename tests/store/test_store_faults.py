"""Whatever is killed, full or away: what was accepted is stored once, refused and kept, or waits; never lost."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from atlas.schema import Event, Playbook, new_id, now, rebuild
from atlas.schema.errors import StoreError, StoreUnavailable
from atlas.schema.events import Answered, Finished
from atlas.store import spool as spool_module
from atlas.store import writer as writer_module
from atlas.store.embedded import start_embedded
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore
from atlas.store.spool import Row, Spool, micros, orphans

Tell = Callable[..., list[Event]]
WRITER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import tell_session
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore
async def main():
    store = await open_postgres({url!r}, folder=Path({folder!r}))
    os.write(1, b"open\\n")
    while True:
        for event in tell_session():
            await store.append([event])
            os.write(1, f"{{event.session_id}} {{event.seq}}\\n".encode())
            if event.seq % 5 == 0:
                await asyncio.sleep(0)
asyncio.run(main())
"""
SWAPPER = """
import asyncio, sys
from pathlib import Path
from atlas.schema import Playbook
from atlas.schema.errors import StaleVersion
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore
async def main():
    store = await open_postgres({url!r}, folder=Path({folder!r}), sizes=(1, 1))
    done = 0
    while done < 50:
        book = await store.playbook("default", {key!r}, "student")
        try:
            await store.publish([book.model_copy(update={{"version": book.version + 1}})])
            done += 1
        except StaleVersion:
            pass
    await store.close()
asyncio.run(main())
"""


@pytest.fixture
async def sql(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


def script(text: str, **values: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", text.format(**values)], stdout=subprocess.PIPE)


def server_pid(folder: Path) -> int:
    return int((folder / "pg" / "data" / "postmaster.pid").read_text().split("\n")[0])


def spool_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.spool"))


async def killed_writer(url: str, folder: Path, after_s: float) -> dict[str, int]:
    """Let a process write and kill it; the last acknowledged number of each of its sessions."""
    tests = str(Path(__file__).parent)
    with script(WRITER, url=url, folder=str(folder), tests=tests) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(after_s)
        process.kill()
        lines = [line.split() for line in process.stdout.read().decode().splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 2}


async def test_kill_9_of_a_writer_loses_nothing_and_doubles_nothing(url: str, tmp_path: Path, sql: Any) -> None:
    chance = random.Random(7)
    for _ in range(4):
        acknowledged = await killed_writer(url, tmp_path, chance.uniform(0.0, 0.4))
        store = await open_postgres(url, folder=tmp_path)
        assert spool_files(tmp_path) != []  # its own, empty one
        assert len(spool_files(tmp_path)) == 1
        for uid, last in acknowledged.items():
            seqs = [event.seq for event in await store.events(uid)]
            assert seqs[:last] == list(range(1, last + 1))
            assert len(seqs) == len(set(seqs))
        running = [uuid.UUID(uid) for uid, last in acknowledged.items() if last < 10]
        statuses = await sql.fetch("SELECT status FROM sessions WHERE uid = ANY($1)", running)
        assert {row["status"] for row in statuses} <= {"interrupted", "succeeded"}
        await store.close()
        assert spool_files(tmp_path) == []


async def test_kill_9_of_the_server_is_survived_by_its_client(place: Path, tell: Tell) -> None:
    folder = place / "killed"
    store = await open_postgres(None, folder=folder)
    told = []
    for _ in range(2):
        for _ in range(20):
            told.append(tell())
            await store.append(told[-1])
        await store.flush()
        os.kill(server_pid(folder), signal.SIGKILL)
        told.append(tell())
        await store.append(told[-1])
        counts = await store.flush(timeout_s=20)
        assert (counts.waiting, counts.refused, counts.stored) == (0, 0, sum(map(len, told)))
    for events in told:
        assert await store.events(events[0].session_id) == events
    await store.close()


async def test_while_the_database_is_away_events_wait_and_then_drain(place: Path, tmp_path: Path, tell: Tell) -> None:
    share = await start_embedded(place / "away")
    store = await open_postgres(share.dsn, folder=tmp_path)
    before, during = tell(), tell()
    await store.append(before)
    assert (await store.flush()).waiting == 0
    await share.close()
    started = time.monotonic()
    await store.append(during)
    counts = await store.flush(timeout_s=0.2)
    assert time.monotonic() - started < 2.0
    assert (counts.accepted, counts.stored, counts.waiting) == (len(before) + len(during), len(before), len(during))
    with pytest.raises(StoreUnavailable, match="does not serve"):
        await store.commit(rebuild(during))
    with pytest.raises(StoreUnavailable):
        await store.background("default", "sums", limit=1)
    share = await start_embedded(place / "away")
    counts = await store.flush(timeout_s=20)
    assert (counts.waiting, counts.refused) == (0, 0)
    assert await store.events(during[0].session_id) == during
    known = await store.background("default", "sums", limit=1)
    assert known.outcomes[0].reward == 0.9  # the commit that failed is told by the replayed events
    await store.close()
    await share.close()


async def test_a_store_closed_while_the_database_is_away_leaves_its_events_for_the_next(
    place: Path, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.store.postgres.CLOSE_PATIENCE_S", 0.1)
    share = await start_embedded(place / "away")
    store = await open_postgres(share.dsn, folder=tmp_path)
    await share.close()
    events = tell()
    await store.append(events)
    await store.close()
    assert (await store.flush()).waiting == len(events)
    share = await start_embedded(place / "away")
    store = await open_postgres(share.dsn, folder=tmp_path)
    assert await store.events(events[0].session_id) == events
    await store.close()
    await share.close()


async def test_a_dead_process_leaves_its_session_interrupted_and_one_takes_it_over(
    url: str, tmp_path: Path, tell: Tell, sql: Any
) -> None:
    store = await open_postgres(url, folder=tmp_path)
    events = tell()[:5]
    await store.append(events)
    await store.flush()
    uid = events[0].session_id
    assert uid not in [row.id for row in await store.interrupted()]
    await sql.execute("UPDATE leases SET until = now() - interval '1 second'")
    row = next(row for row in await store.interrupted() if row.id == uid)
    assert (row.lane, row.tokens > 0) == ("auto", True), "what it has consumed until then is listed"
    session = await store.session(uid)
    assert session is not None
    assert session.status == "interrupted"
    assert [await store.claim(uid), await store.claim(uid)] == [True, False]
    await store._writer.renew()  # pyright: ignore[reportPrivateUsage]
    assert uid not in [row.id for row in await store.interrupted()]
    await store.append([Event(session_id=uid, seq=6, at=now(), body=Answered(answer="60"))])
    await store.append([Event(session_id=uid, seq=7, at=now(), body=Finished(status="succeeded"))])
    await store.flush()
    assert [row.status async for row in store.sessions(limit=1)] == ["succeeded"]
    await store.close()


async def test_eight_processes_swap_one_playbook_and_no_update_is_lost(url: str, tmp_path: Path, sql: Any) -> None:
    key = new_id()
    processes = [script(SWAPPER, url=url, folder=str(tmp_path), key=key) for _ in range(8)]
    for process in processes:
        with process:
            assert await asyncio.to_thread(process.wait) == 0
    versions = await sql.fetch("SELECT version FROM playbooks WHERE key = $1 ORDER BY version", key)
    assert [row["version"] for row in versions] == list(range(1, 401))


async def test_a_full_disk_is_an_error_and_the_next_event_is_whole(
    url: str, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_postgres(url, folder=tmp_path)
    events = tell()
    await store.append(events[:4])
    real = os.write

    def half(fd: int, data: bytes) -> int:
        real(fd, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool_module.os, "write", half)
    with pytest.raises(StoreError, match="No space left"):
        await store.append(events[4:5])
    monkeypatch.setattr(spool_module.os, "write", real)
    await store.append(events[4:])
    counts = await store.flush()
    assert (counts.accepted, counts.stored) == (len(events), len(events))
    assert await store.events(events[0].session_id) == events
    await store.close()


async def test_a_refused_event_waits_while_the_disk_cannot_keep_it(
    url: str, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as refused once it lies in the file, not before."""
    store = await open_postgres(url, folder=tmp_path)
    events = tell()
    await store.append(events)
    await store.flush()
    folder = spool_files(tmp_path)[0].parent
    (folder / "refused.jsonl").mkdir()  # Nothing can be written there.
    await store.append([events[4].model_copy(update={"body": Answered(answer="forged")})])
    counts = await store.flush(timeout_s=0.3)
    assert (counts.accepted, counts.stored, counts.refused, counts.waiting) == (14, 13, 0, 1)
    (folder / "refused.jsonl").rmdir()
    counts = await store.flush(timeout_s=10)
    assert (counts.accepted, counts.stored, counts.refused, counts.waiting) == (14, 13, 1, 0)
    assert len((folder / "refused.jsonl").read_text().splitlines()) == 1
    await store.close()


async def test_a_closed_store_takes_nothing_more(url: str, tmp_path: Path, tell: Tell) -> None:
    store = await open_postgres(url, folder=tmp_path)
    await store.close()
    other = (tmp_path / "other").open("w+b")  # May have got the number of the spool's descriptor.
    with pytest.raises(StoreError, match="closed"):
        await store.append(tell())
    assert other.read() == b""
    other.close()
    assert (await store.flush()).accepted == 0


async def test_a_spool_that_cannot_be_made_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(StoreError, match="spool"):
        await open_postgres(url, folder=tmp_path)


async def test_a_long_queue_is_read_back_from_the_spool(
    url: str, tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MEMORY_BYTES", 2000)
    monkeypatch.setattr(writer_module, "BATCH_ROWS", 7)
    monkeypatch.setattr(spool_module, "ROTATE_BYTES", 5000)
    store = await open_postgres(url, folder=tmp_path)
    told = [tell() for _ in range(6)]
    for events in told:
        await store.append(events)
    assert len(spool_files(tmp_path)) > 2
    assert [await store.events(events[0].session_id) for events in told] == told
    assert (await store.flush()).waiting == 0
    assert [await store.events(events[0].session_id) for events in told] == told
    assert len(spool_files(tmp_path)) == 1
    await store.close()


def test_a_torn_record_ends_the_spool(tmp_path: Path) -> None:
    rows = [Row(uuid.uuid4(), n, micros(now()), b'{"n": %d}' % n) for n in range(1, 4)]
    spool = Spool(tmp_path, str(uuid.uuid4()))
    spool.append(rows)
    (path,) = spool_files(tmp_path)
    blob = path.read_bytes()
    assert list(orphans(tmp_path)) == []  # its process lives
    for cut in (len(blob) - 1, len(blob) - 30, len(blob) - 60):
        torn = tmp_path / str(cut)
        torn.mkdir()
        (torn / f"{uuid.uuid4()}-0.spool").write_bytes(blob[:cut])
        (orphan,) = orphans(torn)
        found = list(orphan.rows())
        assert found == rows[: len(found)]
        assert len(found) == (2 if cut > len(blob) - 40 else 1)
        orphan.close(drained=True)
        assert [path.suffix for path in torn.iterdir()] == [".torn"]
    flipped = blob[:-1] + b"x"
    (tmp_path / "flipped").mkdir()
    (tmp_path / "flipped" / f"{uuid.uuid4()}-0.spool").write_bytes(flipped)
    (orphan,) = orphans(tmp_path / "flipped")
    assert list(orphan.rows()) == rows[:2]
    orphan.close(drained=False)
    assert len(spool_files(tmp_path / "flipped")) == 1
    for slot in spool.append(rows):
        assert slot.read() in rows
    spool.close()


def test_a_record_longer_than_the_window_is_read(tmp_path: Path) -> None:
    rows = [
        Row(uuid.uuid4(), 1, micros(now()), b"[" + b" " * 17_000_000 + b"]"),
        Row(uuid.uuid4(), 2, micros(now()), b"{}"),
    ]
    spool = Spool(tmp_path, str(uuid.uuid4()))
    spool.append(rows)
    (path,) = spool_files(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / f"{uuid.uuid4()}-0.spool").write_bytes(path.read_bytes())
    (orphan,) = orphans(copy)
    assert list(orphan.rows()) == rows
    orphan.close(drained=True)
    assert list(copy.iterdir()) == []
    spool.close()


async def test_a_stray_file_among_the_spools_is_left_alone(url: str, tmp_path: Path) -> None:
    store = await open_postgres(url, folder=tmp_path)
    stray = spool_files(tmp_path)[0].with_name("stray-0.spool")
    stray.write_text("not ours")
    await store.close()
    store = await open_postgres(url, folder=tmp_path)
    await store.close()
    assert spool_files(tmp_path) == [stray]


async def test_texts_beyond_the_limit_are_forgotten_not_lost(
    store: PgStore, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.store.postgres.REMEMBERED", 3000)
    told = [tell() for _ in range(8)]
    for together in zip(*told, strict=True):
        await store.append(together)
    await store.flush()
    assert [await store.events(events[0].session_id) for events in told] == told


async def test_a_playbook_is_not_lost_when_two_write_the_same_version_at_once(url: str, tmp_path: Path) -> None:
    key = new_id()
    stores = await asyncio.gather(*(open_postgres(url, folder=tmp_path) for _ in range(2)))
    book = Playbook(key=key, audience="teacher", version=1)
    results = await asyncio.gather(*(store.publish([book]) for store in stores), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "StaleVersion"]
    await asyncio.gather(*(store.close() for store in stores))
