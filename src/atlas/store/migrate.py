"""Plain numbered SQL, each file in one transaction, under a lock that lets one process at a time apply them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from atlas.schema import Noun
from atlas.schema.errors import StoreError

if TYPE_CHECKING:
    import asyncpg

LOCK = 0x41544C53
"""Key of the advisory lock."""
_TABLE = """
CREATE TABLE IF NOT EXISTS atlas_migrations (
    number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


class Migration(Noun):
    """One step of the schema."""

    number: int
    """1, 2, 3, …"""
    name: str
    """The file's name."""
    sql: str
    """Its statements."""

    @property
    def sha256(self) -> str:
        """Hash of the statements: an applied file must never be edited."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """All of them, in order."""
    folder = files("atlas.store").joinpath("migrations")
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(
        Migration(number=int(entry.name.split("_")[0]), name=entry.name, sql=entry.read_text("utf-8"))
        for entry in found
    )


async def migrate(connection: asyncpg.Connection) -> int:
    """Bring the schema up to date; returns how many steps were applied. Killed at any point, it completes on re-run.

    Raises:
        StoreError: the database was made by a newer version, or with an edited file.
    """
    if await _applied(connection) == len(migrations()):
        return 0
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await connection.execute(_TABLE)
        done = await _applied(connection)
        for step in migrations()[done:]:
            async with connection.transaction():
                await connection.execute(step.sql)
                await connection.execute(
                    "INSERT INTO atlas_migrations (number, name, sha256) VALUES ($1, $2, $3)",
                    step.number,
                    step.name,
                    step.sha256,
                )
        return len(migrations()) - done
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _applied(connection: asyncpg.Connection) -> int:
    """How many steps the database has.

    Raises:
        StoreError: they are not the first of ours.
    """
    if await connection.fetchval("SELECT to_regclass('atlas_migrations')") is None:
        return 0
    rows = await connection.fetch("SELECT number, name, sha256 FROM atlas_migrations ORDER BY number")
    ours = migrations()
    if len(rows) > len(ours):
        raise StoreError(f"The database has schema {len(rows)}, this version knows {len(ours)}.", "Upgrade atlas-loop.")
    for row, step in zip(rows, ours, strict=False):
        if row["sha256"] != step.sha256:
            cause = f"Schema step {row['name']} in the database is not the {step.name} of this version."
            raise StoreError(cause, "Use a database of its own for each version.")
    return len(rows)
