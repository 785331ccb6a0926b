"""The reading half of the store table: export beside `COPY … TO`, the training data beside one query, memory, import.

    python benchmarks/export.py [--sessions 5000] [--folder DIR]

The sessions are those of `benchmarks/store.py`. Each figure is the median of three measurements; what it is compared
with is measured right before each, so that both see the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median

import asyncpg

from atlas.export import Order, Selection, export, open_importer, open_reader
from atlas.store.database import Database
from atlas.store.embedded import start_embedded
from atlas.store.open import open_postgres
from atlas.training_data import get_training_sessions_async
from store import EVENTS, Row, Teller

TIMES = 3
READ = 1000
"""Sessions of one reading for training."""
EVERY = Selection(reviews=None)
ONE_QUERY = """SELECT s.*, e.seq, e.at, e.type, e.payload
FROM (SELECT * FROM sessions WHERE key LIKE 'key-%' ORDER BY created_at DESC LIMIT 1000) s
JOIN events e ON e.session = s.uid ORDER BY s.created_at DESC, s.uid, e.seq"""


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long a piece of work takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def fill(dsn: str, folder: Path, sessions: int) -> None:
    """Put sessions into the database."""
    store = await open_postgres(dsn, folder=folder)
    teller = Teller(1)
    for _ in range(sessions):
        await store.append(teller.session())
    await store.flush(timeout_s=600)
    await store.close()
    connection = await asyncpg.connect(dsn)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def export_rows(dsn: str, folder: Path) -> AsyncIterator[Row]:
    """Export to JSONL beside COPY of the same events."""
    connection = await asyncpg.connect(dsn)
    line_bytes, rates = 0, []
    copied, written = folder / "events.copy", folder / "traces.jsonl"
    for _ in range(TIMES):
        copy_s = await seconds(lambda: connection.copy_from_query("SELECT payload FROM events", output=str(copied)))
        async with open_reader(dsn) as reader:
            order = Order(output=str(written), selection=EVERY)
            export_s = await seconds(lambda reader=reader, order=order: export(reader, order))
        line_bytes = written.stat().st_size
        rates.append((copied.stat().st_size / copy_s, line_bytes / export_s))
    events = await connection.fetchval("SELECT count(*) FROM events")
    await connection.close()
    ratio = median(ours / theirs for theirs, ours in rates)
    speed = median(ours for _, ours in rates)
    yield Row("export to JSONL / COPY TO, bytes per second", f"{ratio:.2f}", ">= 0.3", ratio >= 0.3)
    yield Row("export, events per second", f"{events * speed / line_bytes:,.0f}", "-", True)


async def training_rows(dsn: str) -> AsyncIterator[Row]:
    """1,000 sessions with steps and events beside the one query that fetches the same rows."""
    connection = await asyncpg.connect(dsn)
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(TIMES):
        for events, found in ratios.items():
            query_s = await seconds(lambda: connection.fetch(ONE_QUERY))
            read_s = await seconds(
                lambda events=events: get_training_sessions_async(
                    dsn, limit=READ, review_status_filters=["pending"], include_trajectory_events=events
                )
            )
            found.append(read_s / query_s)
    await connection.close()
    whole, light = median(ratios[True]), median(ratios[False])
    yield Row("training data, 1,000 sessions with events / one query", f"{whole:.2f} x", "<= 3 x", whole <= 3)
    yield Row("the same without events", f"{light:.2f} x", "-", True)


def peak_mb(dsn: str, output: Path, sessions: int) -> float:
    """Largest memory of a process that exports so many sessions, in MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", dsn, str(output), str(sessions)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


async def child(dsn: str, output: str, sessions: str) -> None:
    """Export so many sessions."""
    async with open_reader(dsn) as reader:
        selection = EVERY.model_copy(update={"limit": int(sessions)})
        await export(reader, Order(output=output, selection=selection))


async def import_row(dsn: str, other: str, folder: Path, sessions: int) -> Row:
    """Import what was exported into an empty database and export it again."""
    await Database.prepare(other)
    first, second = folder / "traces.jsonl", folder / "again.jsonl"
    async with open_importer(other, folder=folder) as importer:
        spent = await seconds(lambda: importer.take(str(first), lambda number, reason: None))
    async with open_reader(other) as reader:
        await export(reader, Order(output=str(second), selection=EVERY))
    same = first.read_bytes() == second.read_bytes()
    ours = f"{'the same' if same else 'other'} bytes, {sessions / spent:,.0f} sessions per second"
    return Row("import, and a second export", ours, "the same bytes", same)


async def measure(folder: Path, sessions: int) -> AsyncIterator[Row]:
    """All rows, as they come."""
    share = await start_embedded(folder / "server")
    await fill(share.dsn, folder, sessions)
    async for row in export_rows(share.dsn, folder):
        yield row
    async for row in training_rows(share.dsn):
        yield row
    few, many = (peak_mb(share.dsn, folder / "peak.jsonl", count) for count in (sessions // 10, sessions))
    ours = f"{few:.0f} MB for {sessions // 10:,}, {many:.0f} MB for {sessions:,}"
    yield Row("memory of an export", ours, "constant", many <= few + 16)
    connection = await asyncpg.connect(share.dsn)
    await connection.execute("CREATE DATABASE other")
    await connection.close()
    yield await import_row(share.dsn, share.dsn.replace("/postgres?", "/other?"), folder, sessions)
    await share.close()


async def run(options: argparse.Namespace) -> bool:
    """Measure, print, and say whether every bar holds."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="atlas-bench-", ignore_cleanup_errors=True) as made:
        os.chmod(made, 0o755)
        async for row in measure(Path(made), options.sessions):
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
    parser.add_argument("--folder", help="where the server's data lies while it is measured")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(child(*options.child))
        status = Path("/proc/self/status").read_text()  # Unlike ru_maxrss it does not count what the parent had.
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return
    sys.exit(0 if asyncio.run(run(options)) else 1)


if __name__ == "__main__":
    main()
