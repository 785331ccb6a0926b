"""One real embedded server for the tests of export, and one database that the loop has filled."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from export_kit import Bases, populate

from atlas.schema import Session
from atlas.store.embedded import start_embedded


@pytest.fixture(scope="session")
def bases() -> Iterator[Bases]:
    """A short folder that an unprivileged user may enter, unlike pytest's own."""
    in_memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="atlas-test-", dir=in_memory if in_memory.is_dir() else None))
    folder.chmod(0o755)
    with ThreadPoolExecutor(1) as elsewhere:  # A loop may already run in this thread.
        share = elsewhere.submit(lambda: asyncio.run(start_embedded(folder / "server"))).result()
        yield Bases(share.dsn)
        elsewhere.submit(lambda: asyncio.run(share.close())).result()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def filled(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Session]]:
    """A database with a session of each kind, all pending; tests read it only."""

    async def fill() -> tuple[str, dict[str, Session]]:
        url = await bases.new()
        return url, await populate(tmp_path_factory.mktemp("filled"), url)

    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(lambda: asyncio.run(fill())).result()
