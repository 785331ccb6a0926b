"""The store table: streaming writes beside plain COPY and naive INSERT, starts, kills, and reads at size.

    python benchmarks/store.py [--sessions 5000] [--kills 10] [--folder DIR]

100,000 sessions (`--sessions 100000`) are the 2 million events of the published figures. Everything is measured in this
run, on this machine, against the embedded server on the disk of DIR; the writes of a chunk are timed right after the
COPY of the same rows, so that both see the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg
import psutil

from atlas.schema import (
    Attempt,
    Completion,
    Dossier,
    Event,
    Message,
    Request,
    Reward,
    Route,
    Task,
    Usage,
    Verdict,
    new_id,
    now,
)
from atlas.schema.events import (
    Answered,
    Attempted,
    Body,
    Finished,
    ModelCalled,
    Rewarded,
    Routed,
    SessionStarted,
    Triaged,
)
from atlas.store.database import Database
from atlas.store.embedded import start_embedded
from atlas.store.open import open_postgres
from atlas.store.pooling import Pool
from atlas.store.postgres import PgStore
from atlas.store.writer import Writer

CHUNK = 500
"""Sessions built, copied and streamed at a time."""
EVENTS = 20
"""Events of one session."""
NAIVE = 300
"""Events written one INSERT and one commit at a time."""
PLAIN = "CREATE TABLE plain (session uuid, seq integer, at timestamptz, payload jsonb, PRIMARY KEY (session, seq))"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    figure: str
    ours: str
    bar: str
    holds: bool


@dataclass
class Timed:
    """What the writes of all chunks took, in seconds, and how many events they were."""

    events: int = 0
    stream_s: float = 0.0
    stream_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    plain_s: float = 0.0
    copy_s: float = 0.0
    copy_two_s: float = 0.0
    ids: list[str] = field(default_factory=list)


class Teller:
    """Makes sessions of twenty events, 1.3 KB each in the mean, with texts that nobody can compress away."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._words = [f"{self._chance.randrange(16**6):x}" for _ in range(4000)]

    def session(self, session_id: str | None = None) -> list[Event]:
        """One session: seven attempts, each with its model call, then the answer and its reward."""
        uid = session_id or new_id()
        return [Event(session_id=uid, seq=seq, at=now(), body=body) for seq, body in enumerate(self._bodies(), start=1)]

    def _bodies(self) -> Iterator[Body]:
        prompt = self._text(300)
        key = f"key-{self._chance.randrange(100)}"
        yield SessionStarted(task=Task(prompt=prompt, learning_key=key), policy="student=bench")
        yield Routed(route=Route(lane="paired", reason=self._text(60)))
        answer = ""
        yield Triaged(dossier=Dossier(summary=self._text(60)))
        for number in range(1, 8):
            answer = self._text(900)
            yield self._call(prompt, self._text(700), answer)
            yield Attempted(attempt=Attempt(number=number, output=answer))
        verdict = Verdict(judge="bench", score=self._chance.random(), rationale=self._text(200))
        yield Answered(answer=answer)
        yield Finished(status="succeeded")
        yield Rewarded(reward=Reward(value=verdict.score, source="judges", verdicts=(verdict,)))

    def _call(self, prompt: str, context: str, answer: str) -> ModelCalled:
        return ModelCalled(
            actor="student",
            purpose="answer",
            model="bench:model",
            request_hash="0" * 64,
            request=Request(
                messages=(Message(role="system", content=context), Message(role="user", content=prompt)),
                max_output_tokens=2048,
            ),
            completion=Completion(
                message=Message(role="assistant", content=answer),
                usage=Usage(calls=1, prompt_tokens=250, completion_tokens=220, cost_usd=0.0004),
            ),
            latency_s=0.8,
        )

    def _text(self, length: int) -> str:
        return " ".join(self._chance.choices(self._words, k=length // 7))


def server_cpu() -> float:
    """CPU seconds of all Postgres processes that live."""
    total = 0.0
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres":
                used = process.cpu_times()
                total += used.user + used.system
        except psutil.NoSuchProcess:
            pass
    return total


async def copied(connections: list[asyncpg.Connection], rows: list[tuple[Any, ...]]) -> float:
    """Seconds that plain COPY takes, one statement on each connection."""
    await connections[0].execute("TRUNCATE plain")
    size = -(-len(rows) // len(connections))
    started = time.perf_counter()
    await asyncio.gather(
        *(
            connection.copy_records_to_table("plain", records=rows[at * size : (at + 1) * size])
            for at, connection in enumerate(connections)
        )
    )
    return time.perf_counter() - started


def plain_rows(sessions: list[list[Event]]) -> list[tuple[Any, ...]]:
    """The same events as the store writes them, ready for COPY."""
    rows: list[tuple[Any, ...]] = []
    for events in sessions:
        pool = Pool()
        rows += [(uuid.UUID(e.session_id), e.seq, e.at, pool.encode(e.seq, e.body).decode()) for e in events]
    return rows


async def write(store: PgStore, dsn: str, count: int) -> Timed:
    """Stream `count` sessions, chunk by chunk, each right after COPY of the same rows."""
    connections = [await asyncpg.connect(dsn) for _ in range(2)]
    await connections[0].execute(PLAIN)
    teller, timed = Teller(1), Timed()
    while timed.events < count * EVENTS:
        sessions = [teller.session() for _ in range(CHUNK)]
        rows = plain_rows(sessions)
        started = time.perf_counter()
        as_they_are = [
            (uuid.UUID(event.session_id), event.seq, event.at, event.body.model_dump_json())
            for events in sessions
            for event in events
        ]
        timed.plain_s += time.perf_counter() - started + await copied(connections[:1], as_they_are)
        timed.copy_s += await copied(connections[:1], rows)
        timed.copy_two_s += await copied(connections, rows)
        gc.collect()
        gc.freeze()
        server, cpu, started = server_cpu(), time.process_time(), time.perf_counter()
        for events in sessions:
            for event in events:
                await store.append([event])
        told = await store.flush(timeout_s=600)
        timed.stream_s += time.perf_counter() - started
        timed.stream_cpu_s += time.process_time() - cpu
        timed.server_cpu_s += server_cpu() - server
        timed.events += len(rows)
        timed.ids.append(sessions[0][0].session_id)
        gc.unfreeze()
        assert (told.stored, told.waiting) == (timed.events, 0)
    for connection in connections:
        await connection.close()
    return timed


async def naive(dsn: str) -> float:
    """Seconds per event when each is one INSERT and one commit."""
    connection = await asyncpg.connect(dsn)
    rows = plain_rows([Teller(2).session() for _ in range(-(-NAIVE // EVENTS))])[:NAIVE]
    started = time.perf_counter()
    for row in rows:
        await connection.execute("INSERT INTO plain VALUES ($1, $2, $3, $4)", *row)
    spent = time.perf_counter() - started
    await connection.execute("DROP TABLE plain")
    await connection.close()
    return spent / len(rows)


async def write_rows(store: PgStore, dsn: str, count: int) -> AsyncIterator[Row]:
    """The writing half of the table."""
    timed = await write(store, dsn, count)
    per_event = timed.stream_s / timed.events
    ratio = timed.plain_s / timed.stream_s
    yield Row("streaming writes / plain COPY of the same events", f"{ratio:.2f}", ">= 0.5", ratio >= 0.5)
    yield Row("the same / COPY of rows prepared beforehand", f"{timed.copy_s / timed.stream_s:.2f}", "-", True)
    yield Row("the same / two such COPYs at once", f"{timed.copy_two_s / timed.stream_s:.2f}", "-", True)
    times = await naive(dsn) / per_event
    yield Row("the same / one INSERT and commit per event", f"{times:.0f} x", ">= 20 x", times >= 20)
    yield Row("events per second of one process", f"{1 / per_event:,.0f}", ">= 20,000", per_event <= 1 / 20_000)
    client = 1e6 * timed.stream_cpu_s / timed.events
    server = 1e6 * timed.server_cpu_s / timed.events
    yield Row("CPU per event: client (encoding included) / server", f"{client:.0f} / {server:.0f} us", "-", True)


async def latency_row(dsn: str, folder: Path) -> Row:
    """From append to commit at 2,000 events a second; all sessions on one of the two lanes."""
    database = await Database.connect(dsn, embedded=None, sizes=(1, 2), statement_timeout_s=30)
    writer = Writer(database, folder / "latency")
    writer.start()
    store = PgStore(database, writer)
    teller, sent, waits = Teller(3), list[float](), list[float]()
    sessions = [teller.session(str(uuid.UUID(int=uuid.UUID(new_id()).int & ~1))) for _ in range(300)]
    started = time.perf_counter()
    for number, event in enumerate(event for events in sessions for event in events):
        while time.perf_counter() < started + number / 2000:
            await asyncio.sleep(0.0005)
            moment = time.perf_counter()
            waits += [moment - at for at in sent[len(waits) : writer.told().stored]]
        sent.append(time.perf_counter())
        await store.append([event])
    await store.close()
    p99 = 1000 * quantiles(waits, n=100)[98]
    return Row("append to commit at 2,000 events/s, p99", f"{p99:.0f} ms", "<= 50 ms", p99 <= 50)


async def timed_ms(times: int, ask: Any) -> float:
    """Median milliseconds of an awaited call."""
    spent: list[float] = []
    for number in range(times):
        started = time.perf_counter()
        await ask(number)
        spent.append(1000 * (time.perf_counter() - started))
    return median(spent)


async def read_rows(store: PgStore, dsn: str) -> AsyncIterator[Row]:
    """Reads on what was written."""
    connection = await asyncpg.connect(dsn)
    for page in range(0, await connection.fetchval("SELECT count(*) FROM sessions"), CHUNK):  # As a replay does.
        told = "SELECT array_agg(id) FROM (SELECT uid AS id FROM sessions ORDER BY uid LIMIT $1 OFFSET $2) AS s"
        await connection.execute(f"SELECT atlas_project_rewards(({told}))", CHUNK, page)
    await connection.execute("VACUUM ANALYZE")
    ids = [row["uid"] for row in await connection.fetch("SELECT uid FROM sessions ORDER BY random() LIMIT 200")]
    one, of_one = "SELECT * FROM sessions WHERE uid = $1", "SELECT * FROM events WHERE session = $1 ORDER BY seq"
    page = "SELECT id, task, status, lane FROM sessions ORDER BY created_at DESC, uid DESC LIMIT 50"
    good = "SELECT id FROM sessions WHERE (reward_stats ->> 'score')::double precision >= 0.99 LIMIT 1000"
    for figure, bar, ask in (
        ("read: one session", 0.3, lambda n: connection.fetch(one, ids[n])),
        ("read: its events", 1.0, lambda n: connection.fetch(of_one, ids[n])),
        ("read: a page of the list", 1.0, lambda n: connection.fetch(page)),
        ("read: 1,000 by score", 15.0, lambda n: connection.fetch(good)),
    ):
        spent = await timed_ms(len(ids), ask)
        assert await ask(0), figure
        yield Row(figure, f"{spent:.2f} ms", f"<= {bar} ms", spent <= bar)
    spent = await timed_ms(len(ids), lambda n: store.background("default", f"key-{n % 100}", limit=12))
    yield Row("read: what a session needs before it starts", f"{spent:.2f} ms", "-", True)
    await connection.close()


async def kill_row(dsn: str, folder: Path, kills: int) -> Row:
    """Kill a writing process again and again; count what it was promised and what is there."""
    chance = random.Random(4)
    promised = lost = doubled = 0
    for _ in range(kills):
        with child("scribble", dsn, str(folder / "kills")) as process:
            await first_line(process)
            await asyncio.sleep(chance.uniform(0.01, 0.3))
            process.kill()
            told = process.stdout.read() if process.stdout else b""
        last = {line.split()[0]: int(line.split()[1]) for line in told.decode().splitlines() if " " in line}
        store = await open_postgres(dsn, folder=folder / "kills")
        for uid, number in last.items():
            seqs = [event.seq for event in await store.events(uid)]
            promised += number
            lost += len(set(range(1, number + 1)) - set(seqs))
            doubled += len(seqs) - len(set(seqs))
        await store.close()
    figure = f"{kills} kill -9 of the writer, {promised:,} acknowledged events: lost, doubled"
    return Row(figure, f"{lost}, {doubled}", "0, 0", lost == doubled == 0)


async def start_rows(folder: Path) -> AsyncIterator[Row]:
    """First and later starts with migration, and the end after a kill."""
    spent: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        store = await open_postgres(None, folder=folder)
        spent.append(time.perf_counter() - started)
        await store.close()
    yield Row("first start, schema included", f"{spent[0]:.2f} s", "<= 1.0 s", spent[0] <= 1.0)
    yield Row("later start", f"{min(spent[1:]):.2f} s", "<= 0.25 s", min(spent[1:]) <= 0.25)
    with child("hold", str(folder)) as process:
        pid = int(await first_line(process))
        started = time.perf_counter()
        process.kill()
        await asyncio.to_thread(await_end, pid)
    gone = time.perf_counter() - started
    yield Row("server gone after kill -9 of its only client", f"{gone:.2f} s", "<= 1.0 s", gone <= 1.0)


async def crowd_row(folder: Path) -> Row:
    """Eight processes that start the same new server at once."""
    processes = [child("hold", str(folder)) for _ in range(8)]
    good = sum([(await first_line(process)).strip().isdigit() for process in processes])
    for process in processes:
        with process:
            process.kill()
    return Row("first starts of 8 processes at once, with schema", f"{good} of 8", "8 of 8", good == 8)


def child(task: str, *arguments: str) -> subprocess.Popen[bytes]:
    """This file in a process of its own, doing one of the tasks below."""
    return subprocess.Popen([sys.executable, __file__, "--child", task, *arguments], stdout=subprocess.PIPE)


async def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line that a child prints: it is ready."""
    assert process.stdout is not None
    return await asyncio.to_thread(process.stdout.readline)


def await_end(pid: int) -> None:
    """Return when the process is dead."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.005)


async def hold(folder: str) -> None:
    """Open the project's store, print the server's process id, and wait to be killed."""
    await open_postgres(None, folder=Path(folder))
    os.write(1, (Path(folder) / "pg" / "data" / "postmaster.pid").read_bytes().split(b"\n")[0] + b"\n")
    await asyncio.sleep(60)


async def scribble(dsn: str, folder: str) -> None:
    """Append without end, and print each event once it is acknowledged."""
    store = await open_postgres(dsn, folder=Path(folder))
    os.write(1, b"open\n")
    teller = Teller(os.getpid())
    while True:
        for event in teller.session():
            await store.append([event])
            os.write(1, f"{event.session_id} {event.seq}\n".encode())
            await asyncio.sleep(0)


async def measure(folder: Path, options: argparse.Namespace) -> AsyncIterator[Row]:
    """All rows, as they come."""
    async for row in start_rows(folder / "start"):
        yield row
    yield await crowd_row(folder / "crowd")
    share = await start_embedded(folder / "main")
    store = await open_postgres(share.dsn, folder=folder / "main")
    async for row in write_rows(store, share.dsn, options.sessions):
        yield row
    yield await latency_row(share.dsn, folder)
    async for row in read_rows(store, share.dsn):
        yield row
    await store.close()
    yield await kill_row(share.dsn, folder, options.kills)
    await share.close()


async def run(options: argparse.Namespace) -> bool:
    """Measure, print, and say whether every bar holds."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="atlas-bench-", ignore_cleanup_errors=True) as made:
        os.chmod(made, 0o755)
        async for row in measure(Path(made), options):
            rows.append(row)
            print(f"{'ok  ' if row.holds else 'MISS'} {row.figure}: {row.ours} (bar {row.bar})", file=sys.stderr)
    print(f"{options.sessions:,} sessions, {options.sessions * EVENTS:,} events\n")
    print("| figure | ours | bar | |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.figure} | {row.ours} | {row.bar} | {'ok' if row.holds else 'missed'} |")
    return all(row.holds for row in rows)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=5000, help="sessions of twenty events")
    parser.add_argument("--kills", type=int, default=10, help="kill -9 of a writing process")
    parser.add_argument("--folder", help="where the server's data lies while it is measured")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, *arguments = options.child
        asyncio.run({"hold": hold, "scribble": scribble}[task](*arguments))
    sys.exit(0 if asyncio.run(run(options)) else 1)


if __name__ == "__main__":
    main()
