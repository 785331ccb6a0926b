"""kill -9 in the middle of a session: nothing acknowledged is lost, and no finished model call is paid twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

REVIEW = json.dumps({"accepted": True, "guidance": None})


class Provider:
    """An OpenAI-compatible server that counts what it is paid for and lets the reviewer hang until it is let go."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.reviewing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.base = ""

    async def chat(self, request: web.Request) -> web.Response:
        asked = json.dumps(await request.json())
        role = "teacher" if "You verify another agent's work" in asked else "student"
        self.calls[role] += 1
        if role == "teacher":
            self.reviewing.set()
            await self.go_on.wait()
        said = {"role": "assistant", "content": REVIEW if role == "teacher" else "The total is 60."}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        return web.json_response({"choices": [{"message": said, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    server = Provider()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    server.go_on.set()
    await runner.cleanup()


async def atlas(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "atlas",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_session_is_resumed_without_paying_twice(provider: Provider, tmp_path: Path, how: int) -> None:
    (tmp_path / "atlas.yaml").write_text(
        f"agent: {{type: openai, llm: {{provider: vllm, model: m, api_base: '{provider.base}'}}}}\n"
        "checks: [{type: regex, pattern: '60'}]\n"
        "learning: {enabled: false}\n"
    )
    first = await atlas(tmp_path, "run", "--task", "Add 10, 20 and 30.", "--lane", "paired")
    await asyncio.wait_for(provider.reviewing.wait(), 30)
    os.kill(first.pid, how)
    await asyncio.wait_for(first.communicate(), 30)
    provider.go_on.set()
    second = await atlas(tmp_path, "resume", "--json")
    out, err = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 0, err.decode()
    result = json.loads(out.splitlines()[-1])
    assert (result["final_answer"], result["accepted"]) == ("The total is 60.", True)
    assert provider.calls["student"] == 1
