"""The viewer table: CPU of the server (viewer and database together) for each page at size, and what a reader waits.

    python benchmarks/viewer.py [--quick] [--sessions 100000] [--long 200000] [--folder DIR]

The rows are made in the database itself and look like what sessions leave behind: 20 events each, and one session of
`--long` events. The viewer runs as its own process, as `atlas view` starts it; CPU is that of this process and of every
process of its database, over `--repeat` requests. A figure holds where the CPU of a page is at most 200 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp
import asyncpg
import psutil

from atlas.store.database import Database
from atlas.store.embedded import start_embedded

BAR_MS = 200.0
TOKEN = "benchmark"
EVENTS = 20
SESSIONS = """
INSERT INTO sessions (uid, task, status, metadata, final_answer, reward_value, tokens, cost_usd, created_at,
    completed_at, key, policy, lane, accepted, playbook_version)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
    'Task ' || n || ': ' || repeat(md5(n::text) || ' ', 9),
    CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'succeeded' END,
    jsonb_build_object('learning_key', 'key-' || n % 100, 'tenant', 'default', 'team', md5((n % 7)::text),
        'drift', jsonb_build_object('drift_alert', n % 500 = 0, 'score', 1.5, 'reason', 'tokens', 'n', 50,
                                    'reward', '{}'::jsonb, 'tokens', '{}'::jsonb)),
    repeat(md5((n + 1)::text) || ' ', 12), (n % 101) / 100.0, 500 + n % 1000, 0.002, at, at + interval '3 seconds',
    'key-' || n % 100, 'student=bench:one', (ARRAY['auto', 'paired', 'coach'])[1 + n % 3], n % 3 > 0, 1
FROM (SELECT n, now() - ($1 - n) * interval '1 second' AS at FROM generate_series(1, $1::integer) AS n) AS made
"""
TALES = """
INSERT INTO events (session, seq, at, type, step, attempt, actor, name, duration_s, tokens, cost_usd, payload)
SELECT s.uid, seq, s.created_at + seq * interval '0.1 seconds', 'model_called', 0, 1, who, 'bench:one', 0.4, 90, 0.0001,
    jsonb_build_object(
        'type', 'model_called', 'actor', who, 'purpose', 'answer', 'step', 0, 'attempt', 1, 'model', 'bench:one',
        'request_hash', md5(seq::text), 'latency_s', 0.4, 'request', jsonb_build_object('messages', jsonb_build_array(
            jsonb_build_object('role', 'user', 'content', md5(seq::text)))),
        'completion', jsonb_build_object(
            'message', jsonb_build_object('role', 'assistant', 'content', repeat(md5(seq::text), 12)),
            'usage', jsonb_build_object('calls', 1, 'prompt_tokens', 70, 'cached_tokens', 30, 'completion_tokens', 20,
                                        'cost_usd', 0.0001)))
FROM sessions s, generate_series(1, $1::integer) AS seq, LATERAL (
    SELECT CASE WHEN seq % 2 = 0 THEN 'teacher' ELSE 'student' END AS who) AS acting
WHERE s.uid = ANY($2::uuid[])
"""


@dataclass(frozen=True)
class Asked:
    """What one page took."""

    page: str
    cpu_ms: float
    wait_ms: float
    kilobytes: float


async def furnish(folder: Path, sessions: int, long: int) -> tuple[str, str]:
    """Make the rows; gives the database's address and the id of the long session."""
    share = await start_embedded(folder / ".atlas")  # Held until this process ends.
    await Database.prepare(share.dsn)
    admin = await asyncpg.connect(share.dsn)
    weeks = sessions // 604_800 + 2
    for week in range(weeks):
        await admin.execute("SELECT atlas_partition(now() AT TIME ZONE 'UTC' - $1 * interval '7 days')", week)
    await admin.execute(SESSIONS, sessions)
    uids = [row["uid"] for row in await admin.fetch("SELECT uid FROM sessions ORDER BY created_at DESC")]
    for start in range(1, len(uids), 2000):
        await admin.execute(TALES, EVENTS, uids[start : start + 2000])
    await admin.execute(TALES, long, uids[:1])
    await admin.execute("VACUUM ANALYZE")
    await admin.close()
    return share.dsn, str(uids[0])


def processes(viewer: psutil.Process, folder: Path) -> list[psutil.Process]:
    """The viewer, and every process of its database."""
    postmaster = int((folder / ".atlas" / "pg" / "data" / "postmaster.pid").read_text().split("\n")[0])
    server = psutil.Process(postmaster)
    return [viewer, server, *server.children(recursive=True)]


def cpu_s(viewer: psutil.Process, folder: Path) -> float:
    """CPU seconds of the processes that live."""
    total = 0.0
    for process in processes(viewer, folder):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


async def ask(session: aiohttp.ClientSession, page: tuple[str, str], repeat: int, used: Callable[[], float]) -> Asked:
    """Load a page so many times; the first one, which warms up, is not counted."""
    name, address = page
    waits: list[float] = []
    size = 0
    before = 0.0
    for turn in range(repeat + 1):
        if turn == 1:
            before = used()
        started = time.perf_counter()
        async with session.get(address) as answer:
            size = len(await answer.read())
            assert answer.status == 200, (address, answer.status)
        waits.append(time.perf_counter() - started)
    return Asked(name, (used() - before) / repeat * 1000, median(waits[1:]) * 1000, size / 1000)


def pages(uid: str, below: str, long: int) -> list[tuple[str, str]]:
    """What is measured, by name."""
    one = f"/sessions/{uid}"
    return [
        ("first page", "/sessions"),
        ("the list, deep inside", f"/sessions?below={below}"),
        ("only failed", "/sessions?status=failed"),
        ("only alarms", "/sessions?drift=true"),
        ("only one key", "/sessions?key=key-7"),
        ("words that many have", "/sessions?text=task"),
        ("words that nobody has", "/sessions?text=nowhere+to+be+found"),
        ("review queue", "/review"),
        ("learning, all keys", "/learning"),
        ("learning, one key", "/learning?key=key-7"),
        ("training and policies", "/training"),
        (f"{long:,} events: first window", one),
        (f"{long:,} events: last window", f"{one}?after={long - 60}"),
        (f"{long:,} events: raw, in the middle", f"{one}/events?after={long // 2}"),
        (f"{long:,} events: attempts", f"{one}/attempts"),
        (f"{long:,} events: cost by role", f"{one}/cost"),
    ]


async def measure(folder: Path, given: argparse.Namespace) -> list[Asked]:
    """Start the viewer and load every page."""
    dsn, uid = await furnish(folder, given.sessions, given.long)
    admin = await asyncpg.connect(dsn)
    row = await admin.fetchrow("SELECT created_at, uid FROM sessions ORDER BY created_at OFFSET $1 LIMIT 1", 60)
    await admin.close()
    below = f"{int(row['created_at'].timestamp() * 1e6):x}.{row['uid'].hex}"
    origin, viewer = await asyncio.to_thread(start, dsn, folder)
    async with aiohttp.ClientSession(origin, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        every = pages(uid, below, given.long)
        found = [await ask(session, page, given.repeat, lambda: cpu_s(viewer, folder)) for page in every]
    print(f"Memory of the viewer: {viewer.memory_info().rss / 1e6:.0f} MB.\n")
    viewer.terminate()
    viewer.wait()
    return found


def start(dsn: str, folder: Path) -> tuple[str, psutil.Process]:
    """Start `atlas view`; gives its address and its process."""
    command = [sys.executable, "-m", "atlas", "view", "--no-open", "--port", "0", "--database-url", dsn]
    environment = {**os.environ, "ATLAS_VIEW_TOKEN": TOKEN}
    started = psutil.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)
    return started.stdout.readline().strip(), started


def main() -> None:
    """Measure, print the table, and fail where the first page is over the bar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="5,000 sessions and a long one of 10,000 events")
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--long", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the database is made, and left")
    given = parser.parse_args()
    if given.quick:
        given.sessions, given.long, given.repeat = 5_000, 10_000, 5
    with tempfile.TemporaryDirectory(prefix="atlas-viewer-", dir=given.folder) as folder:
        Path(folder).chmod(0o755)
        found = asyncio.run(measure(Path(folder), given))
    events = given.sessions * EVENTS + given.long
    print(
        f"{given.sessions:,} sessions, {events:,} events; {given.repeat} requests a page; bar {BAR_MS:.0f} ms of CPU.\n"
    )
    print("| page | server CPU, ms | a reader waits, ms (median) | kB | holds |")
    print("|---|---|---|---|---|")
    for one in found:
        holds = "yes" if one.cpu_ms <= BAR_MS else "no"
        print(f"| {one.page} | {one.cpu_ms:.0f} | {one.wait_ms:.0f} | {one.kilobytes:.0f} | {holds} |")
    sys.exit(0 if found[0].cpu_ms <= BAR_MS else 1)


if __name__ == "__main__":
    main()
