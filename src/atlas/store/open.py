"""The store that a configuration asks for."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from atlas.schema.errors import ConfigError, StoreError
from atlas.store.base import Store
from atlas.store.boundary import Safety
from atlas.store.memory import MemoryStore

if TYPE_CHECKING:
    from atlas.store.database import Database
    from atlas.store.embedded import Embedded
    from atlas.store.postgres import PgStore


async def open_store(
    database_url: str | None,
    *,
    folder: Path,
    embedded: bool,
    sizes: tuple[int, int] = (1, 5),
    statement_timeout_s: float = 30.0,
    safety: Safety | None = None,
) -> Store:
    """The database at the URL; else, when `embedded`, the project's own in `folder`; else memory.

    `folder` is the project's state folder, `.atlas`; the spool lies there too. Between `sizes` connections are held.
    Without `safety` the defaults of the configuration hold.

    Raises:
        StoreUnavailable: the database cannot be reached or started.
        StoreError: its schema is not ours, or the spool's folder cannot be written.
    """
    if database_url is None and not embedded:
        return MemoryStore(safety)
    return await open_postgres(
        database_url, folder=folder, sizes=sizes, statement_timeout_s=statement_timeout_s, safety=safety
    )


async def open_postgres(
    database_url: str | None,
    *,
    folder: Path,
    sizes: tuple[int, int] = (1, 5),
    statement_timeout_s: float = 30.0,
    safety: Safety | None = None,
) -> PgStore:
    """As `open_store`, but never memory: the server's schema brought up to date and old spools drained.

    Raises:
        StoreError: as `open_store`.
    """
    from atlas.store.database import Database
    from atlas.store.draining import drain_orphans
    from atlas.store.embedded import start_embedded
    from atlas.store.postgres import PgStore
    from atlas.store.writer import Writer

    own: Embedded | None = None if database_url else await start_embedded(folder)
    url = database_url or (own.dsn if own else "")
    database: Database | None = None
    writer: Writer | None = None
    try:
        await Database.prepare(url)
        database = await Database.connect(url, embedded=own, sizes=sizes, statement_timeout_s=statement_timeout_s)
        spool = folder / "spool" / (_mark(database.address) if database_url else "embedded")
        writer = Writer(database, spool)
        await drain_orphans(database, spool)
        await writer.renew()
    except StoreError:
        if writer is not None:
            writer.give_up()
        if database is not None:
            await database.close()
        elif own is not None:
            await own.close()
        raise
    writer.start()
    return PgStore(database, writer, safety)


@asynccontextmanager
async def open_database(
    where: str | Path,
    *,
    statement_timeout_s: float = 30.0,
    sizes: tuple[int, int] = (0, 2),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncGenerator[Database]:
    """The database at a URL, or a project's own, whose state folder is given; for reviewing, pruning and looking.

    Raises:
        ConfigError: that folder does not exist.
        StoreError: as `open_store`.
    """
    from atlas.store.database import Database
    from atlas.store.embedded import start_embedded

    own: Embedded | None = await start_embedded(_existing(where)) if isinstance(where, Path) else None
    url = own.dsn if own else str(where)
    try:
        await Database.prepare(url)
        database = await Database.connect(
            url, embedded=own, sizes=sizes, statement_timeout_s=statement_timeout_s, settings=settings
        )
        try:
            yield database
        finally:
            await database.close()
    finally:
        if own is not None:
            await own.close()


def _existing(folder: Path) -> Path:
    if not folder.exists():
        raise ConfigError(f"There is no {folder.name} in {folder.resolve().parent}.", "Give --path or --config.")
    return folder


def _mark(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:12]
