"""Training runs and policies in the database."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.schema import Noun, Policy, PolicyRole
from atlas.schema.errors import StaleVersion
from atlas.store.database import Database, address, queries, unavailable
from atlas.store.embedded import start_embedded

if TYPE_CHECKING:
    import asyncpg

SCHEME = "atlas://"
"""Opens the address of a project's own database."""


class RunRow(Noun):
    """A training run as the database keeps it."""

    id: str
    """UUID version 7."""
    method: str
    """sft, gkd or grpo."""
    role: str
    """Who was trained."""
    status: str
    """running, succeeded or failed."""
    failure: str | None
    """Why it failed."""
    base: str
    """The checkpoint it started from."""
    data: str
    """SHA-256 over the examples."""
    examples: int
    """How many there were."""
    sessions: tuple[str, ...]
    """The sessions they are from."""
    checkpoint: str | None
    """Where the result is."""
    checkpoint_sha256: str | None
    """Hash of its weights."""
    metrics: dict[str, float]
    """The last step's."""
    manifest: dict[str, Any]
    """All of `run.json` (a payload)."""
    started_at: datetime
    """When it started (UTC)."""
    finished_at: datetime | None
    """When it ended (UTC)."""


class Ledger:
    """Writes and reads runs and policies through one connection."""

    def __init__(self, connection: asyncpg.Connection, where: str) -> None:
        self._connection = connection
        self._where = where

    async def put_run(self, run: RunRow) -> None:
        """Record a run, or what became of it.

        Raises:
            StoreUnavailable: the database is away.
        """
        key = uuid.UUID(run.id)
        told = (run.method, run.role, run.status, run.failure, run.base, run.data, run.examples)
        made = (run.checkpoint, run.checkpoint_sha256, json.dumps(run.metrics), json.dumps(run.manifest))
        with self._ours():
            async with self._connection.transaction():
                await self._connection.execute(queries()["put_run"], key, *told, *made, run.started_at, run.finished_at)
                sessions = [uuid.UUID(session) for session in run.sessions]
                await self._connection.execute(queries()["put_run_sessions"], key, sessions)

    async def runs(self, limit: int = 50) -> list[dict[str, Any]]:
        """The manifests of the newest runs, newest first.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._ours():
            rows = await self._connection.fetch(queries()["runs"], limit)
        return [json.loads(row["manifest"]) for row in rows]

    async def run_of(self, sha256: str) -> str | None:
        """The run that made a checkpoint; None where it is not known.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._ours():
            found = await self._connection.fetchval(queries()["run_of_checkpoint"], sha256)
        return None if found is None else str(found)

    async def sessions_of(self, run: str) -> list[str]:
        """The sessions that a run learned from.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._ours():
            rows = await self._connection.fetch(queries()["run_sessions"], uuid.UUID(run))
        return [str(row["session"]) for row in rows]

    async def put_policies(self, policies: Sequence[Policy]) -> None:
        """Write policies in one transaction, in this order: one that leaves the seat before the one that takes it.

        Raises:
            StaleVersion: another policy is active in the seat; nothing was written.
            StoreUnavailable: the database is away.
        """
        import asyncpg

        try:
            with self._ours():
                async with self._connection.transaction():
                    for one in policies:
                        run = None if one.run is None else uuid.UUID(one.run)
                        told = (uuid.UUID(one.id), one.role, one.state, one.sha256, run, one.model_dump_json())
                        await self._connection.execute(queries()["put_policy"], *told, one.created_at, one.changed_at)
        except asyncpg.UniqueViolationError as error:
            raise StaleVersion("Somebody else promoted another policy.", "See `atlas deploy status`.") from error

    async def policies(self, role: PolicyRole | None = None) -> list[Policy]:
        """All policies of a seat, newest first.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._ours():
            rows = await self._connection.fetch(queries()["policies"], role)
        return [Policy.model_validate_json(row["policy"]) for row in rows]

    @contextmanager
    def _ours(self) -> Generator[None]:
        """A failure of the database in the house's words; a broken rule of ours is told by the caller."""
        import asyncpg

        try:
            yield
        except asyncpg.UniqueViolationError:
            raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(self._where, error) from error


@asynccontextmanager
async def open_ledger(where: str | Path) -> AsyncGenerator[Ledger]:
    """Runs and policies of the database at a URL, or of a project's own: the path of its state folder.

    Raises:
        StoreUnavailable: it cannot be reached or started.
        StoreError: its schema is not ours.
    """
    import asyncpg

    text = str(where)
    folder = Path(text.removeprefix(SCHEME)) if isinstance(where, Path) or text.startswith(SCHEME) else None
    own = await start_embedded(folder) if folder is not None else None
    url = own.dsn if own else text
    try:
        await Database.prepare(url)
        try:
            connection = await asyncpg.connect(url, timeout=10.0)
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(address(url), error) from error
        try:
            yield Ledger(connection, address(url))
        finally:
            await connection.close()
    finally:
        if own is not None:
            await own.close()
