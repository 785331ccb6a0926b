"""The schema is what the migrations make, whoever applies them, however often, on the servers we support."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from atlas.schema import Event
from atlas.schema.errors import StoreError
from atlas.store import migrate as migrate_module
from atlas.store import place as place_module
from atlas.store.database import Database
from atlas.store.embedded import start_embedded
from atlas.store.migrate import Migration, migrate, migrations
from atlas.store.open import open_postgres
from atlas.store.place import find_place
from atlas.store.pooling import Pool
from atlas.store.spool import micros

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


OBJECTS = """
SELECT 'column' AS kind, format('%s.%s', table_name, column_name) AS name,
    concat_ws(' ', data_type, is_nullable, column_default, is_identity) AS told
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint', format('%s.%s', conrelid::regclass, conname), pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'table', c.relname, concat_ws(' ', c.relkind, c.reloptions, pg_get_partkeydef(c.oid)) FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
UNION ALL SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
ORDER BY 1, 2, 3
"""
"""Everything that a migration can make."""
STATEMENT = re.compile(r"(?:[^;$'-]|-(?!-)|--[^\n]*\n|'[^']*'|\$\$.*?\$\$|\$r\$.*?\$r\$)+;", re.DOTALL)


async def objects(url: str) -> list[tuple[str, ...]]:
    """The schema without what the calendar and the runner make of it."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(OBJECTS)
        weeks = re.compile(r"events_\d{4}w\d\d|atlas_migrations")
        return [tuple(row) for row in rows if not weeks.search(row["name"])]
    finally:
        await connection.close()


async def columns(url: str) -> list[tuple[str, ...]]:
    return [row for row in await objects(url) if row[0] == "column"]


async def test_the_contract_is_readable(fresh: str) -> None:
    await Database.prepare(fresh)
    have = {row[1] for row in await columns(fresh)}
    want = {f"{table}.{column}" for table, names in CONTRACT.items() for column in names.split()}
    assert want <= have


async def test_applying_them_again_changes_nothing(fresh: str) -> None:
    assert await Database.prepare(fresh) == len(migrations())
    before = await objects(fresh)
    assert await Database.prepare(fresh) == 0
    assert await objects(fresh) == before


async def test_the_schema_is_all_migrations_and_nothing_else(fresh: str, url: str, tmp_path: Path) -> None:
    """A database that served is, object by object, what the files alone make."""
    store = await open_postgres(url, folder=tmp_path)
    await store.close()
    connection = await asyncpg.connect(fresh)
    for step in migrations():
        await connection.execute(step.sql)
    await connection.close()
    served = await objects(url)
    assert {row[0] for row in served} == {"column", "constraint", "index", "view", "function", "table", "statistics"}
    assert served == await objects(fresh)


def test_numbers_have_no_gap() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


async def test_six_processes_at_once_all_succeed(fresh: str) -> None:
    code = "import asyncio, sys; from atlas.store.database import Database; asyncio.run(Database.prepare(sys.argv[1]))"
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", code, fresh) for _ in range(6)]
    assert [await process.wait() for process in processes] == [0] * 6
    assert await Database.prepare(fresh) == 0


def test_statements_are_told_apart() -> None:
    for step in migrations():
        found = STATEMENT.findall(step.sql)
        assert re.sub(r"\s+", "", "".join(found)) == re.sub(r"\s+", "", step.sql)
        assert all(re.match(r"(?:--[^\n]*\n|\s)*[A-Z]{2,}", one) for one in found)
    assert sum(len(STATEMENT.findall(step.sql)) for step in migrations()) > 60


async def tell_into(connection: asyncpg.Connection, events: list[Event]) -> None:
    """Write a session as every version of the schema takes it: its events, then what was made of them."""
    pool, rows = Pool(), []
    for event in events:
        payload = pool.encode(event.seq, event.body).decode()
        rows.append((uuid.UUID(event.session_id), event.seq, micros(event.at), payload))
    touched, owner = [rows[0][0]], uuid.uuid4()
    arrays = [list(array) for array in zip(*rows, strict=True)]
    append = "SELECT atlas_append($1, $2, $3, $4::jsonb[], $5, $6, $7, true)"
    assert await connection.fetchval(append, *arrays, [1], touched, owner) == []


async def test_an_upgrade_of_a_filled_database_killed_at_any_statement_completes_on_re_run(
    fresh: str, tell: Callable[..., list[Event]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    real, told, kills = migrations(), [], 0
    for done in range(len(real)):
        statements = STATEMENT.findall(real[done].sql)
        for stop in range(1, len(statements) + 1):
            broken = "".join(statements[:stop]) + "SELECT pg_terminate_backend(pg_backend_pid());"
            cut = (*real[:done], Migration(number=done + 1, name="broken", sql=broken))
            monkeypatch.setattr(migrate_module, "migrations", lambda cut=cut: cut)
            connection = await asyncpg.connect(fresh)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await migrate(connection)
            connection.terminate()
            kills += 1
        monkeypatch.setattr(migrate_module, "migrations", lambda done=done: real[: done + 1])
        assert await Database.prepare(fresh) == 1
        connection = await asyncpg.connect(fresh)
        told.append(tell(key=f"at {done}"))
        await tell_into(connection, told[-1])
        await connection.close()
    assert kills > 60
    monkeypatch.setattr(migrate_module, "migrations", lambda: real)
    store = await open_postgres(fresh, folder=tmp_path)
    assert [await store.events(events[0].session_id) for events in told] == told
    assert [row.learning_key async for row in store.sessions()] == [f"at {n}" for n in reversed(range(len(real)))]
    await store.close()
    assert await objects(fresh) == await objects(url)
    connection = await asyncpg.connect(fresh)
    labels = await connection.fetch("SELECT metadata -> 'token_usage' ->> 'total_tokens' AS n FROM sessions")
    assert [row["n"] for row in labels] == ["75"] * len(real)
    assert await connection.fetchval("SELECT count(*) FROM events_default") == 0
    await connection.close()


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
