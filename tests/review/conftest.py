"""One real embedded server for the tests of review, and sessions to put into it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore


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
