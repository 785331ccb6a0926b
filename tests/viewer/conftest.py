"""One real embedded server for the tests of the viewer, a viewer that listens on it, and a reader with its token."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from hypothesis import settings
from viewer_kit import Reader

from atlas.store.browse import PLANNED_ANEW
from atlas.store.embedded import start_embedded
from atlas.store.open import open_database, open_postgres
from atlas.store.postgres import PgStore
from atlas.viewer.viewer import Viewer

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
    """The address of a database server that runs as long as the tests do."""
    with ThreadPoolExecutor(1) as elsewhere:  # A loop may already run in this thread.
        share = elsewhere.submit(lambda: asyncio.run(start_embedded(place / "shared"))).result()
        yield share.dsn
        elsewhere.submit(lambda: asyncio.run(share.close())).result()


@asynccontextmanager
async def database_of(server: str) -> AsyncIterator[str]:
    """The address of an empty database."""
    name = f"viewer_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def url(server: str) -> AsyncIterator[str]:
    """The address of an empty database."""
    async with database_of(server) as url:
        yield url


@pytest.fixture
async def store(url: str, tmp_path: Path) -> AsyncIterator[PgStore]:
    """A store on an empty database, with a spool of its own."""
    opened = await open_postgres(url, folder=tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def viewer(store: PgStore, url: str, tmp_path: Path) -> AsyncIterator[Viewer]:
    """A viewer that listens."""
    async with open_database(url, sizes=(0, 6), settings=PLANNED_ANEW) as database:
        opened = Viewer(database, who="ann", place=url, runs=tmp_path / "runs")
        await opened.open("127.0.0.1", 0)
        yield opened
        await opened.close()


@pytest.fixture
async def reader(viewer: Viewer) -> AsyncIterator[Reader]:
    """Somebody who has the token."""
    jar = aiohttp.CookieJar(unsafe=True)  # Cookies of an address that is a number.
    async with aiohttp.ClientSession(viewer.origin, cookie_jar=jar) as session:
        answer = await session.get("/", params={"token": viewer.token})
        assert answer.status == 200
        yield Reader(session)
