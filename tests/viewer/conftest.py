"""One real embedded server for the tests of the viewer, a viewer that listens on it, and a reader with its token."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from viewer_kit import Reader

from atlas.store.browse import PLANNED_ANEW
from atlas.store.open import open_database, open_postgres
from atlas.store.postgres import PgStore
from atlas.viewer.viewer import Viewer


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
