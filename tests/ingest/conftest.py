"""A real receiver on a real port, and traces to send to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ingest_kit import QUICK, Client

from atlas.ingest import Ingest, IngestRules, Receiver, Spool
from atlas.store import MemoryStore, Store

Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Opens receivers; closes them, and proves that every span is accounted for."""
    closing: list[Callable[[], Any]] = []

    async def start(
        store: Store | None = None,
        *,
        folder: Path | None = None,
        rules: IngestRules = QUICK,
        clean: Any = None,
        **options: Any,
    ) -> Client:
        store = store or MemoryStore()
        ingest = Ingest(store, Spool(folder, clean=clean), rules)
        await ingest.open()
        receiver = Receiver(ingest, **options)
        port = await receiver.open("127.0.0.1", 0)
        http = aiohttp.ClientSession()

        async def close() -> None:
            await http.close()
            await receiver.close()
            taken = await ingest.close()
            assert taken.accepted == taken.stored + taken.refused + taken.waiting

        closing.append(close)
        return Client(ingest, store, port, http)

    yield start
    for close in closing:
        await close()


@pytest.fixture(scope="session")
def url(server: str) -> str:
    """The address of the server that runs as long as the tests do; its tables are shared."""
    return server
