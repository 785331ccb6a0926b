"""A real proxy on a real port before a real server that plays the provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from proxy_kit import TOKEN, Client, Upstream

from atlas.config import AtlasConfig
from atlas.proxy import OpenProxy

Serve = Callable[..., Any]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    played = Upstream()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{tail:.*}", played.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield played
    await runner.cleanup()


@pytest.fixture
async def serve(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Serve]:
    """Opens proxies; `proxy` are keys of that block, the rest is the configuration's."""
    closing: list[Callable[[], Any]] = []

    async def start(*, token: str | None = TOKEN, **settings: Any) -> Client:
        block = {"openai_base": upstream.url, "anthropic_base": upstream.url} | settings.pop("proxy", {})
        tree = {"agent": {"type": "given", "name": "proxied"}, "storage": None} | settings
        config = AtlasConfig.model_validate(tree | {"proxy": block})
        opened = OpenProxy(config, tmp_path, token=token)
        port = await opened.open("127.0.0.1", 0)
        http = aiohttp.ClientSession(auto_decompress=False)

        async def close() -> None:
            await http.close()
            await opened.close()
            counts = opened.sessions.counts()
            assert counts.calls == counts.recorded + counts.unrecorded + counts.refused

        closing.append(close)
        return Client(opened, port, http, upstream, token)

    yield start
    for close in closing:
        async with asyncio.timeout(20):
            await close()
