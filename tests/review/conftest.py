"""One real embedded server for the tests of review, and sessions to put into it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings

from atlas.store.embedded import start_embedded
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore

settings.register_profile("patient", deadline=None)  # Other programs share these processors.
settings.load_profile("patient")


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A short folder that an unprivileged user may enter, unlike pytest's own."""
    in_memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="atlas-test-", dir=in_memory if in_memory.is_dir() else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(place: Path) -> Iterator[str]:
    """The address of a server that runs as long as the tests do."""
    with ThreadPoolExecutor(1) as elsewhere:  # A loop may already run in this thread.
        share = elsewhere.submit(lambda: asyncio.run(start_embedded(place / "shared"))).result()
        yield share.dsn
        elsewhere.submit(lambda: asyncio.run(share.close())).result()


@pytest.fixture
async def url(server: str) -> AsyncIterator[str]:
    """The address of an empty database."""
    name = f"review_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def store(url: str, tmp_path: Path) -> AsyncIterator[PgStore]:
    """A store on an empty database, with a spool of its own."""
    opened = await open_postgres(url, folder=tmp_path)
    yield opened
    await opened.close()
