"""The schema is what the migrations make, whoever applies them, however often, on the servers we support."""

from __future__ import annotations

import asyncio
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from atlas.schema.errors import StoreError
from atlas.store import migrate as migrate_module
from atlas.store import place as place_module
from atlas.store.database import Database
from atlas.store.embedded import start_embedded
from atlas.store.migrate import Migration, migrate, migrations
from atlas.store.open import open_postgres
from atlas.store.place import find_place

CONTRACT = {
    "sessions": "id task status metadata final_answer reward reward_stats reward_audit student_learning"
    " teacher_learning review_status review_notes created_at completed_at",
    "plans": "session_id plan",
    "step_results": "session_id step_id trace output evaluation attempts metadata",
    "step_attempts": "session_id step_id attempt evaluation",
    "guidance_notes": "session_id step_id sequence note",
    "trajectory_events": "id session_id event created_at",
    "discovery_runs": "id project_root task source payload metadata created_at",
    "learning_registry": "learning_key student_learning teacher_learning metadata updated_at",
}


@pytest.fixture
async def fresh(url: str) -> AsyncIterator[str]:
    """The address of an empty database."""
    name = f"fresh_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(url)
    await admin.execute(f"CREATE DATABASE {name}")
    yield url.replace("/postgres?", f"/{name}?")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def columns(url: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name !~ '^events_' ORDER BY 1, ordinal_position"
        )
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def test_the_contract_is_readable(fresh: str) -> None:
    await Database.prepare(fresh)
    have = {(row[0], row[1]) for row in await columns(fresh)}
    want = {(table, column) for table, names in CONTRACT.items() for column in names.split()}
    assert want <= have


async def test_applying_them_again_changes_nothing(fresh: str) -> None:
    assert await Database.prepare(fresh) == len(migrations())
    before = await columns(fresh)
    assert await Database.prepare(fresh) == 0
    assert await columns(fresh) == before


async def test_the_schema_is_all_migrations_and_nothing_else(fresh: str, url: str, tmp_path: Path) -> None:
    """A database that served is, object by object, what the files alone make."""
    store = await open_postgres(url, folder=tmp_path)
    await store.close()
    connection = await asyncpg.connect(fresh)
    for step in migrations():
        await connection.execute(step.sql)
    await connection.close()
    served = [row for row in await columns(url) if row[0] != "atlas_migrations"]
    assert served == await columns(fresh)


def test_numbers_have_no_gap() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


async def test_six_processes_at_once_all_succeed(fresh: str) -> None:
    code = "import asyncio, sys; from atlas.store.database import Database; asyncio.run(Database.prepare(sys.argv[1]))"
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", code, fresh) for _ in range(6)]
    assert [await process.wait() for process in processes] == [0] * 6
    assert await Database.prepare(fresh) == 0


async def test_a_step_that_was_killed_half_way_completes_on_re_run(fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration(
        number=1, name="0001_x.sql", sql=migrations()[0].sql + "SELECT pg_terminate_backend(pg_backend_pid());"
    )
    real = migrations()
    monkeypatch.setattr(migrate_module, "migrations", lambda: (broken,))
    connection = await asyncpg.connect(fresh)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await migrate(connection)
    connection.terminate()
    monkeypatch.setattr(migrate_module, "migrations", lambda: real)
    assert await Database.prepare(fresh) == len(real)


async def test_a_newer_or_an_edited_schema_is_refused(fresh: str) -> None:
    await Database.prepare(fresh)
    connection = await asyncpg.connect(fresh)
    await connection.execute("INSERT INTO atlas_migrations (number, name, sha256) VALUES (999, 'later', 'x')")
    with pytest.raises(StoreError, match="Upgrade atlas-loop"):
        await Database.prepare(fresh)
    await connection.execute("DELETE FROM atlas_migrations WHERE number = 999")
    await connection.execute("UPDATE atlas_migrations SET sha256 = 'x'")
    with pytest.raises(StoreError, match="is not the 0001_first"):
        await Database.prepare(fresh)
    await connection.close()


async def test_the_weeks_have_partitions_and_the_default_one_stays_empty(url: str, tmp_path: Path) -> None:
    store = await open_postgres(url, folder=tmp_path)
    await store.close()
    connection = await asyncpg.connect(url)
    weeks = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
    assert weeks >= 3
    assert await connection.fetchval("SELECT count(*) FROM ONLY events_default") == 0
    await connection.close()


async def test_they_apply_on_postgres_15(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("/usr/lib/postgresql/15/bin/postgres") is None:
        pytest.skip("POSTGRES 15 IS NOT INSTALLED: the lower bound of the supported servers goes untested here")
    monkeypatch.setattr(place_module, "CARRIER", "no_such_wheel")
    assert find_place(place / "fifteen").bin == Path("/usr/lib/postgresql/15/bin")
    store = await open_postgres(None, folder=place / "fifteen")
    share = await start_embedded(place / "fifteen")
    connection = await asyncpg.connect(share.dsn)
    assert (await connection.fetchval("SHOW server_version")).startswith("15.")
    await connection.close()
    assert await columns(share.dsn) != []
    await share.close()
    await store.close()
