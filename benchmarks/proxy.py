"""What the proxy costs: CPU of its process and latency of a call, against the same call straight to the same upstream.

    python benchmarks/proxy.py [--quick]

Three processes on this machine: a server that plays the provider, the proxy with its database, and this client, which
makes each call twice, straight and through the proxy, in turn, so that whatever else runs hits both alike. Sessions are
conversations of an agent that uses a tool after each reply; their recording and judging is part of the proxy's CPU. The
bars are those of a call of an agent that works: of a session of eight calls.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp
import psutil

ANSWER = "The order was sent on Monday and is on its way; it will arrive within two days. " * 5
ROLE = "You answer questions about orders. Look every order up before you answer, and say when it arrives. " * 8
TOOL = {"name": "find_order", "description": "Look an order up.", "parameters": {"type": "object", "properties": {}}}
CPU_BAR_MS, LATENCY_BAR_MS = 1.0, 1.5
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Row:
    """One kind of call."""

    kind: str
    """What was called."""
    calls: int
    """How often, each way."""
    direct_ms: float
    """Median latency straight to the upstream."""
    proxied_ms: float
    """Median latency through the proxy."""
    p99_ms: float
    """99th percentile of the difference of the two calls of a pair."""
    cpu_ms: float
    """CPU of the proxy's process per call, sessions' ends and judging included."""

    @property
    def holds(self) -> bool:
        """Whether both bars are held."""
        return self.cpu_ms <= CPU_BAR_MS and self.proxied_ms - self.direct_ms <= LATENCY_BAR_MS


def _reply(body: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": ANSWER}
    if body["messages"][-1]["content"] != "Last.":
        call = {"id": f"c{len(body['messages'])}", "type": "function"}
        said = {"role": "assistant", "content": None, "tool_calls": [call | {"function": {"name": "find_order"}}]}
        said["tool_calls"][0]["function"]["arguments"] = '{"number": 7}'
    usage = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
    return {"model": "m", "choices": [{"index": 0, "message": said, "finish_reason": "stop"}], "usage": usage}


async def _upstream(pipe: Connection) -> None:
    from aiohttp import web

    async def chat(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if not body.get("stream"):
            return web.Response(body=json.dumps(_reply(body)).encode(), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in ANSWER.split()[:40]:
            piece = {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}], "model": "m"}
            await response.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "m"}
        await response.write(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")
        return response

    async def models(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"data": []}', content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pipe.send(runner.addresses[0][1])
    await asyncio.Event().wait()


async def _proxy(pipe: Connection, folder: Path, upstream: str) -> None:
    from atlas.config import AtlasConfig
    from atlas.proxy import OpenProxy

    block = {"openai_base": upstream, "answered_seconds": 0.05}
    tree = {"agent": {"type": "given"}, "checks": [{"type": "regex", "pattern": "order"}], "proxy": block}
    opened = OpenProxy(AtlasConfig.model_validate(tree), folder, token="token")
    pipe.send(await opened.open("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, pipe.recv) == "settle":
        await opened.sessions.settle()
        pipe.send(opened.sessions.counts().model_dump())
    await opened.close()


def serve_upstream(pipe: Connection) -> None:
    """The provider's process."""
    asyncio.run(_upstream(pipe))


def serve_proxy(pipe: Connection, folder: Path, upstream: str) -> None:
    """The proxy's process."""
    asyncio.run(_proxy(pipe, folder, upstream))


class Bench:
    """The client's side."""

    def __init__(self, http: aiohttp.ClientSession, pipe: Connection, pid: int, urls: tuple[str, str]) -> None:
        self._http = http
        self._pipe = pipe
        self._process = psutil.Process(pid)
        self._urls = urls
        self.unrecorded = 0

    async def row(self, kind: str, calls: int, pair: Callable[[int, str], Awaitable[None]]) -> Row:
        """Measure `pair(number, url)`, which makes one call, both ways."""
        for number in range(-max(calls // 10, 16), 0):
            for url in self._urls:
                await pair(number, url)
        await self._settled()
        direct: list[float] = []
        proxied: list[float] = []
        before = self._cpu_s()
        for number in range(calls):
            for url, times in zip(self._urls, (direct, proxied), strict=True):
                began = time.perf_counter()
                await pair(number, url)
                times.append((time.perf_counter() - began) * 1000)
        await self._settled()
        cpu_ms = (self._cpu_s() - before) * 1000 / calls
        extra = [through - straight for straight, through in zip(direct, proxied, strict=True)]
        return Row(kind, calls, median(direct), median(proxied), quantiles(extra, n=100)[-1], cpu_ms)

    async def models(self, number: int, url: str) -> None:
        """A call that is passed on and not recorded."""
        async with self._http.get(f"{url}/models") as response:
            await response.read()

    def chats(self, length: int, *, stream: bool = False) -> Callable[[int, str], Awaitable[None]]:
        """Calls of an agent, each session `length` of them long."""
        said: dict[str, list[dict[str, Any]]] = {}

        async def call(number: int, url: str) -> None:
            turn = number % length
            if turn == 0 or url not in said:
                asked = {"role": "user", "content": f"Where is order {number}?"}
                said[url] = [{"role": "system", "content": ROLE}, asked]
            messages = said[url]
            if turn == length - 1:
                messages.append({"role": "user", "content": "Last."})
            body = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": TOOL}]}
            raw = json.dumps(body | ({"stream": True} if stream else {})).encode()
            async with self._http.post(f"{url}/chat/completions", data=raw) as response:
                reply = await response.read()
            if not stream:
                message = json.loads(reply)["choices"][0]["message"]
                result = {"role": "tool", "tool_call_id": f"c{len(messages)}", "content": f"order {number}: sent"}
                messages += [message, result] if message.get("tool_calls") else [message]

        return call

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    async def _settled(self) -> None:
        self._pipe.send("settle")
        counts = await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)
        self.unrecorded = counts["unrecorded"]


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[tuple[Connection, int, tuple[str, str]]]:
    """The provider and the proxy."""
    ours, theirs = SPAWN.Pipe()
    provider = SPAWN.Process(target=serve_upstream, args=(theirs,), daemon=True)
    provider.start()
    direct = f"http://127.0.0.1:{ours.recv()}/v1"
    pipe, other = SPAWN.Pipe()
    proxy = SPAWN.Process(target=serve_proxy, args=(other, folder, direct))
    proxy.start()
    try:
        yield pipe, proxy.pid or 0, (direct, f"http://127.0.0.1:{pipe.recv()}/t/token/v1")
    finally:
        pipe.send("end")
        proxy.join(30)
        provider.kill()


async def measure(calls: int, folder: Path) -> tuple[list[Row], int]:
    """All rows, and how many calls were not recorded."""
    with processes(folder) as (pipe, pid, urls):
        async with aiohttp.ClientSession() as http:
            bench = Bench(http, pipe, pid, urls)
            rows = [
                await bench.row("`/v1/models`, passed on", calls, bench.models),
                await bench.row("chat, sessions of 8 calls", calls, bench.chats(8)),
                await bench.row("chat, sessions of 1 call", calls, bench.chats(1)),
                await bench.row("chat, streamed in 42 pieces", calls, bench.chats(1, stream=True)),
            ]
            return rows, bench.unrecorded


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 calls of each kind instead of 4,000")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="atlas-proxy-"))
    folder.chmod(0o755)
    try:
        rows, unrecorded = asyncio.run(measure(400 if options.quick else 4_000, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| call | calls | direct p50 | through the proxy p50 | added p50 | added p99 | proxy CPU per call | |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.kind} | {row.calls:,} | {row.direct_ms:.2f} ms | {row.proxied_ms:.2f} ms "
            f"| {row.proxied_ms - row.direct_ms:.2f} ms | {row.p99_ms:.2f} ms | {row.cpu_ms:.2f} ms "
            f"| {'ok' if row.holds else 'missed'} |"
        )
    print(f"\nBars: {CPU_BAR_MS} ms CPU, {LATENCY_BAR_MS} ms p50. Calls that were not recorded: {unrecorded}.")
    sys.exit(0 if all(row.holds for row in rows[:2]) and unrecorded == 0 else 1)


if __name__ == "__main__":
    main()
