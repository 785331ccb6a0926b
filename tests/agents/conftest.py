"""Fixtures: a trace in memory, a caller on it, a pool."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from agents_kit import MemoryTrace

from atlas.models import Caller, HttpPool


@pytest.fixture
def trace() -> MemoryTrace:
    return MemoryTrace()


@pytest.fixture
def caller(trace: MemoryTrace) -> Caller:
    return Caller(trace)


@pytest.fixture
async def http() -> AsyncIterator[HttpPool]:
    pool = HttpPool()
    yield pool
    await pool.close()
