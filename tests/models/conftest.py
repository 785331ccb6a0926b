"""Fixtures: the faulty server, a pool, a model of that server, a caller, and the neutral mock of the OpenAI dialect."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from models_kit import SHARED, FaultServer, MemoryTrace, Sleeper

from atlas.config.llm import LLMConfig, RetryConfig
from atlas.models import Caller, ChatModel, HttpPool


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    faulty = FaultServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", faulty.handle)
    async with TestServer(app) as running:
        faulty.url = str(running.make_url("/v1")).rstrip("/")
        yield faulty


@pytest.fixture
async def http() -> AsyncIterator[HttpPool]:
    pool = HttpPool()
    yield pool
    await pool.close()


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def trace() -> MemoryTrace:
    return MemoryTrace()


@pytest.fixture
def caller(trace: MemoryTrace) -> Caller:
    return Caller(trace)


@pytest.fixture
def chat(server: FaultServer, http: HttpPool, sleeper: Sleeper) -> Callable[..., ChatModel]:
    """A model of the faulty server."""

    def make(**fields: Any) -> ChatModel:
        config = {"provider": "openai", "model": "gpt-4o", "api_base": server.url, "retry": RetryConfig(attempts=3)}
        return ChatModel(LLMConfig.model_validate(config | fields), http, pace=sleeper.pace)

    return make


@pytest.fixture(scope="module")
def mock_llm() -> Iterator[str]:
    """The base URL of the neutral mock server."""
    mock = SHARED / "peers" / "mock_llm.py"
    if not mock.exists():
        pytest.skip(f"the mock server is not there: {mock}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, str(mock), "--port", str(port), "--record"]) as process:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
