"""One measurement of `runtime.py`, in a process of its own: calls, tokens, cpu, latency, crowd or copies."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from atlas.config import AtlasConfig
from atlas.runtime import Runtime, open_runtime
from atlas.schema import Cue, Entry, Session, Task
from atlas.schema.errors import StaleVersion
from atlas.schema.events import ModelCalled

MOCK = "http://127.0.0.1:18080"
TASK = "Add up the invoice amounts 10, 20 and 30 and report the total, case {}."
BEFORE_ANSWER = {"plan", "plan_review", "step", "answer", "verify", "synthesis", "probe"}


def control(path: str, body: object = None) -> Any:
    """One call of the mock server's control interface."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(MOCK + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def config(**changes: object) -> AtlasConfig:
    """An ordinary configuration, all roles on the mock server, storage in the embedded database."""
    llm = {"provider": "vllm", "model": "mock", "api_base": MOCK + "/v1", "timeout_seconds": 120}
    prompt = "You are a careful bookkeeping assistant. Answer in JSON when asked."
    tree: dict[str, object] = {
        "agent": {"type": "openai", "system_prompt": prompt, "llm": llm},
        "adaptive_teaching": {"history": {"audit_share": 0.0}},
    }
    return AtlasConfig.model_validate(tree | changes)


def plain_replies(answer: str = ("The total is 60 because 10+20+30=60. " * 11)[:400]) -> None:
    """Set the mock's roles to the shapes that our schemas ask for."""
    verdict = {
        "principles": [{"name": "Correctness", "weight": 1.0, "description": "Right answer"}],
        "rationale": "The answer meets the stated task.",
        "score": 0.9,
        "uncertainty": 0.1,
        "student_note": None,
        "teacher_note": None,
    }
    steps = {"steps": [{"id": 1, "description": "Add up the three amounts", "depends_on": []}]}
    accepted = {"accepted": True, "guidance": None}
    override = {
        "executor": answer,
        "plan": steps,
        "plan_review": accepted,
        "validation": accepted,
        "reward": verdict,
        "probe": {"mode": "auto", "confidence": 0.9},
        "learning": {"entries": []},
    }
    control("/control", {"override": override, "latency_ms": 0, "record": False, "fail": {}})
    control("/reset", {})


async def play(runtime: Runtime, number: int, **options: Any) -> Session:
    """One session to its very end."""
    running = await runtime.start(Task(prompt=TASK.format(number), learning_key=options.pop("key", "bench")), **options)
    return await running.settled()


async def calls(folder: Path, lane: str) -> dict[str, object]:
    """Model calls between question and answer."""
    async with await open_runtime(config(), folder=folder) as runtime:
        session = await play(runtime, 1, lane=lane)
        events = await runtime.store.events(session.id)
    made = [event.body for event in events if isinstance(event.body, ModelCalled)]
    return {"calls": sum(body.purpose in BEFORE_ANSWER for body in made)}


async def tokens(folder: Path) -> dict[str, object]:
    """Prompt tokens of a steady auto session, everything counted, and of one verification."""
    check = {"checks": [{"type": "regex", "pattern": "60"}]}
    async with await open_runtime(config(**check), folder=folder) as runtime:
        for number in range(16):
            await play(runtime, number)
        control("/reset", {})
        sessions = [await play(runtime, number) for number in range(100, 110)]
        paired = await play(runtime, 200, lane="paired")
    assert all(session.route and session.route.lane == "auto" for session in sessions), "history did not earn auto"
    student = sum(u.usage.prompt_tokens for s in sessions for u in s.usage if u.actor == "student")
    verify = sum(u.usage.prompt_tokens for u in paired.usage if u.actor == "teacher")
    return {
        "all_prompt_tokens": sum(session.total_usage.prompt_tokens for session in sessions) / len(sessions),
        "student_prompt_tokens": student / len(sessions),
        "verify_prompt_tokens": verify,
        "task_and_answer_tokens": (len(paired.task.prompt) + len(paired.answer or "")) / 4,
    }


async def cpu(folder: Path, lane: str) -> dict[str, object]:
    """Process CPU of this process for each session, judging and storage included."""
    async with await open_runtime(config(), folder=folder) as runtime:
        for number in range(30):
            await play(runtime, number, lane=lane)
        rounds: list[float] = []
        for _ in range(5):
            before = time.process_time()
            for number in range(60):
                await play(runtime, number, lane=lane)
            rounds.append((time.process_time() - before) / 60)
    return {"cpu_ms": 1000 * median(rounds)}


async def latency(folder: Path) -> dict[str, object]:
    """Time to the answer in the auto lane, against the same call made bare on a kept connection, taken in turn."""
    import aiohttp

    body = {"model": "mock", "messages": [{"role": "user", "content": TASK.format(1)}]}
    ours: list[float] = []
    bare: list[float] = []
    async with await open_runtime(config(), folder=folder) as runtime, aiohttp.ClientSession() as http:
        for number in range(10):
            await play(runtime, number, lane="auto")
        control("/control", {"latency": {"executor": 100, "other": 100}})
        for number in range(30):
            started = time.perf_counter()
            async with http.post(MOCK + "/v1/chat/completions", json=body) as reply:
                await reply.json()
            bare.append(time.perf_counter() - started)
            started = time.perf_counter()
            running = await runtime.start(Task(prompt=TASK.format(number), learning_key="bench"), lane="auto")
            await running.answered()
            ours.append(time.perf_counter() - started)
            await running.settled()
        control("/control", {"latency": {}})
    return {"ratio": median(ours) / median(bare), "bare_ms": 1000 * median(bare)}


class CountingProxy:
    """Stands in front of the database's socket and counts connections and round trips."""

    def __init__(self, target: str) -> None:
        self.target, self.round_trips, self.connections = target, 0, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self.target)
        await asyncio.gather(self._count(reader, upstream_writer), self._pass(upstream_reader, writer))

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting, started = b"", False
        while data := await reader.read(65536):
            writer.write(data)
            waiting += data
            while len(waiting) >= 8:
                kind = b"" if not started else waiting[:1]
                size = struct.unpack("!i", waiting[len(kind) : len(kind) + 4])[0] + len(kind)
                if len(waiting) < size:
                    break
                self.round_trips += kind in (b"S", b"Q", b"H") and started
                started, waiting = True, waiting[size:]
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@contextmanager
def short_folder() -> Iterator[str]:
    """A folder whose name leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield folder


async def crowd(folder: Path, sessions: int = 2000) -> dict[str, object]:
    """Many sessions at once: none may fail, the event loop may not stall, connections and round trips stay few."""
    from atlas.store.embedded import start_embedded

    stalls: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            stalls.append(time.perf_counter() - before - 0.01)

    embedded = await start_embedded(folder / ".atlas")
    with short_folder() as sockets:
        socket_folder = parse_qs(urlsplit(embedded.dsn).query)["host"][0]
        proxy = CountingProxy(str(Path(socket_folder) / ".s.PGSQL.5432"))
        server = await asyncio.start_unix_server(proxy, str(Path(sockets) / ".s.PGSQL.5432"))
        url = embedded.dsn.replace(quote(socket_folder), quote(sockets))
        check = {"checks": [{"type": "regex", "pattern": "60"}], "storage": {"database_url": url}}
        async with await open_runtime(config(**check), folder=folder) as runtime:
            for number in range(20):
                await play(runtime, number, lane="auto")
            before = proxy.round_trips
            watching = asyncio.create_task(watch())
            done = await asyncio.gather(
                *(play(runtime, number, lane="auto", key=f"key-{number % 50}") for number in range(sessions)),
                return_exceptions=True,
            )
            watching.cancel()
            flushed = await runtime.store.flush()
            trips = proxy.round_trips - before
        server.close()
    await embedded.close()
    failed = sum(isinstance(one, BaseException) or one.reward is None for one in done) + flushed.refused
    return {
        "sessions": sessions,
        "failed": failed,
        "stall_p99_ms": 1000 * quantiles(stalls, n=100)[98],
        "connections": proxy.connections,
        "round_trips": trips / sessions,
    }


async def copies(folder: Path) -> dict[str, object]:
    """How often one answer stands in judge prompts and in the database; and lost updates of one playbook."""
    import asyncpg

    from atlas.store.embedded import start_embedded

    marker = "The total is 60 because 10+20+30=60. " * 10
    plain_replies(marker)
    embedded = await start_embedded(folder / ".atlas")
    async with await open_runtime(config(), folder=folder) as runtime:
        control("/control", {"record": True})
        await play(runtime, 1, lane="paired")
        log = control("/log")
        await runtime.store.flush()
        kept = await _race(runtime)
    asked = [json.dumps(one["body"]) for one in log if one["role"] == "reward"]
    judge = max(body.count(marker.strip()) for body in asked)
    connection = await asyncpg.connect(embedded.dsn)
    tables = await connection.fetch(
        "select oid::regclass::text t from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    )
    stored = 0
    for row in tables:
        texts = await connection.fetch(f"select x::text v from {row['t']} x")
        stored += sum(text["v"].count(marker.strip()) for text in texts)
    await connection.close()
    await embedded.close()
    return {"judge": judge, "database": stored, "cas": kept}


async def _race(runtime: Runtime, writers: int = 8, updates: int = 50) -> int:
    async def write(writer: int) -> None:
        for number in range(updates):
            while True:
                book = await runtime.store.playbook("default", "race", "student")
                entry = Entry(id=f"{writer}-{number}", audience="student", cue=Cue(text="x"), action="y")
                new = book.model_copy(update={"version": book.version + 1, "entries": (*book.entries, entry)})
                try:
                    await runtime.store.publish([new])
                    break
                except StaleVersion:
                    continue

    await asyncio.gather(*map(write, range(writers)))
    return len((await runtime.store.playbook("default", "race", "student")).entries)


def main() -> None:
    """Run the measurement that is named and print its result as JSON."""
    name, *arguments = sys.argv[1:]
    measure = {"calls": calls, "tokens": tokens, "cpu": cpu, "latency": latency, "crowd": crowd, "copies": copies}[name]
    plain_replies()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # The database's user must reach it, or its data would lie, and stay, elsewhere.
        print(json.dumps(asyncio.run(measure(Path(folder), *arguments))))


if __name__ == "__main__":
    main()
