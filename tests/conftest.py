"""What holds for every test."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from atlas.store.embedded import start_embedded
from atlas.store.place import OUTSIDE_PREFIX

# How long an example takes says something about the machine, not about Atlas: a busy one must not fail a test.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """As root, databases below pytest's folder keep their data outside of it, where nobody else removes it."""
    yield
    ours = tmp_path_factory.getbasetemp().resolve()
    for target in Path(tempfile.gettempdir()).glob(f"{OUTSIDE_PREFIX}*"):
        said = target / "linked-from"
        if said.is_file() and Path(said.read_text()).is_relative_to(ours):
            shutil.rmtree(target, ignore_errors=True)


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
    """The address of one real database server, for all rooms, that runs as long as the tests do."""
    with ThreadPoolExecutor(1) as elsewhere:  # A loop may already run in this thread.
        share = elsewhere.submit(lambda: asyncio.run(start_embedded(place / "shared"))).result()
        yield share.dsn
        elsewhere.submit(lambda: asyncio.run(share.close())).result()
