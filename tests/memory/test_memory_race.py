"""Many writers learn on one key at once: every session counts, none twice. On both stores."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from atlas.memory import MemoryRules, PlaybookMemory
from atlas.models import Caller
from atlas.schema import Entry, Playbook, Session
from atlas.schema.errors import StaleVersion
from atlas.store import Store, open_store

WRITERS, EACH = 6, 8


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that the database's unprivileged user may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="atlas-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, folder=folder, embedded=request.param == "postgres")
    yield opened
    await opened.close()


async def test_no_update_is_lost(
    store: Store, entry_of: Callable[..., Entry], session_of: Callable[..., Session], caller: Caller
) -> None:
    memory = PlaybookMemory(MemoryRules(holdout_trial=0.5))
    await store.publish([Playbook(key="default", audience="student", version=1, entries=(entry_of(),))])

    async def one_session() -> None:
        session = session_of(1.0)
        while True:
            background = await store.background("default", "default", limit=0)
            seen, _ = memory.recall(session.task, background, session.id)
            judged = session.model_copy(update={"student_memory": seen})
            try:
                await store.publish(await memory.learn(judged, background, caller))
            except StaleVersion:
                continue
            return

    async def writer() -> None:
        for _ in range(EACH):
            await one_session()

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    book = await store.playbook("default", "default", "student")
    (entry,) = book.entries
    assert book.version == 1 + WRITERS * EACH
    assert entry.evidence.n_with + entry.evidence.n_without == WRITERS * EACH
