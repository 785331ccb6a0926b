"""The runtime table: what a session costs beside the bare model calls, and beside the published SDK.

    python benchmarks/runtime.py --mock PATH/mock_llm.py [--peer-python PEER/bin/python --peer-bench PATH/bench_peer.py]

Everything is measured in this run, on this machine, against one mock OpenAI-compatible server on loopback. The table
holds counts and ratios; process CPU is given in milliseconds because the budget is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

PORT = 18080
TASK = "Add up the invoice amounts 10, 20 and 30 and report the total, case {}."
WORKER = Path(__file__).with_name("runtime_worker.py")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    figure: str
    peer: str
    ours: str
    bar: str
    holds: bool


def http(path: str, body: object = None) -> Any:
    """One call of the mock server's control interface."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


@contextmanager
def mock_server(script: Path) -> Iterator[None]:
    """The mock server, until the block ends; it tells our roles apart by their static prompts."""
    rules = [
        ["plan_review", "You review another agent's plan"],
        ["validation", "You verify another agent's work"],
        ["plan", "You split the task into the fewest steps"],
        ["synthesis", "You write the final answer to the task"],
        ["learning", "You write lessons from one finished session"],
        ["probe", "You estimate whether an agent will solve"],
        ["reward", "You judge one finished piece|You are the arbiter over"],
        ["executor", "careful bookkeeping assistant"],
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(rules, file)
        file.flush()
        server = subprocess.Popen([sys.executable, str(script), "--port", str(PORT), "--rules", file.name])
        try:
            for _ in range(100):
                try:
                    http("/stats")
                    break
                except OSError:
                    time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait()


def import_cost(python: str, code: str) -> tuple[float, float]:
    """Median process CPU in seconds and peak resident memory in MB of a fresh interpreter that runs `code`."""
    probe = (
        "import resource,sys,time;t=time.process_time();exec(sys.argv[1]);c=time.process_time()-t;"
        "print(c,resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
    )
    runs: list[tuple[float, float]] = []
    for _ in range(5):
        done = subprocess.run([python, "-c", probe, code], capture_output=True, text=True, check=True)
        cpu, rss = map(float, done.stdout.split()[-2:])
        runs.append((cpu, rss))
    return median(cpu for cpu, _ in runs), median(rss for _, rss in runs)


def help_cost(command: list[str]) -> float:
    """Median process CPU in seconds of a command's `--help`."""
    import resource

    runs: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(runs)


def worker(*arguments: str) -> dict[str, Any]:
    """One measurement in a process of its own; its last line is the result."""
    done = subprocess.run([sys.executable, str(WORKER), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"worker {arguments} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peer(python: str | None, bench: str | None, *arguments: str) -> dict[str, Any]:
    """The same with the published SDK; empty where it is not given."""
    if not python or not bench:
        return {}
    command = [python, bench, "--mock", f"http://127.0.0.1:{PORT}", "--storage", "none", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else {}


def shown(found: dict[str, Any], key: str, unit: str = "") -> str:
    """A figure of the peer, or a dash."""
    return f"{found[key]}{unit}" if key in found else "-"


def install_rows() -> Iterator[Row]:
    """What a fresh virtual environment with the base install holds."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/pip", "--disable-pip-version-check"]
        size_before = _megabytes(folder)
        root = Path(__file__).parents[1]
        subprocess.run([*pip, "install", "-q", "-c", str(root / "constraints.txt"), str(root)], check=True)
        listed = json.loads(subprocess.run([*pip, "list", "--format=json"], capture_output=True, check=True).stdout)
        packages = len([one for one in listed if one["name"] not in ("pip", "setuptools", "wheel")])
        size = _megabytes(folder) - size_before
    yield Row("packages in the base install", "83", str(packages), "<= 35", packages <= 35)
    yield Row("size of the base install", "424 MB", f"{size:.0f} MB", "<= 200 MB", size <= 200)


def _megabytes(folder: str) -> float:
    done = subprocess.run(["du", "-sm", folder], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def start_rows(peer_python: str | None) -> Iterator[Row]:
    """What it costs to come into the room."""
    cpu, rss = import_cost(sys.executable, "import atlas")
    theirs = import_cost(peer_python, "import atlas") if peer_python else None
    yield Row(
        "`import atlas`, process CPU, peak memory",
        f"{theirs[0]:.1f} s, {theirs[1]:.0f} MB" if theirs else "-",
        f"{cpu:.3f} s, {rss:.0f} MB",
        "<= 0.15 s, <= 45 MB",
        cpu <= 0.15 and rss <= 45,
    )
    bin_folder = Path(sys.executable).parent
    helps = help_cost([str(bin_folder / "atlas")])
    peer_help = help_cost([str(Path(peer_python).parent / "atlas")]) if peer_python else None
    theirs_help = f"{peer_help:.1f} s" if peer_help else "-"
    yield Row("`atlas --help`, process CPU", theirs_help, f"{helps:.2f} s", "<= 0.25 s", helps <= 0.25)


def call_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Model calls between question and answer."""
    for lane, bar in (("auto", 1), ("paired", 2), ("coach", 4)):
        http("/control", {"plan_steps": 1})
        ours = worker("calls", lane)
        theirs = peer(
            options.peer_python, options.peer_bench, "--lane", lane, "--sessions", "5", "--control", '{"plan_steps":1}'
        )
        calls = ours["calls"]
        yield Row(
            f"model calls before the answer, {lane}",
            shown(theirs, "llm_calls_per_session", " in all"),
            f"{calls:g}",
            f"{bar}",
            calls == bar,
        )


def token_rows() -> Iterator[Row]:
    """Tokens that are read for each that the student needs."""
    ours = worker("tokens")
    ratio = ours["all_prompt_tokens"] / ours["student_prompt_tokens"]
    yield Row(
        "prompt tokens, auto lane, key with 12+ sessions / the student's own",
        "50 (21,489 tokens)",
        f"{ratio:.2f} ({ours['all_prompt_tokens']:.0f} tokens)",
        "<= 1.35",
        ratio <= 1.35,
    )
    bound = 1.3 * ours["task_and_answer_tokens"] + 200
    yield Row(
        "verification prompt",
        "2,469 tokens",
        f"{ours['verify_prompt_tokens']:.0f} tokens",
        f"<= {bound:.0f}",
        ours["verify_prompt_tokens"] <= bound,
    )


def cost_rows(options: argparse.Namespace) -> Iterator[Row]:
    """What the framework itself consumes, storage on; the peer's figures are without storage."""
    for lane, bar in (("auto", 5.0), ("coach", 12.0)):
        ours = worker("cpu", lane)
        theirs = peer(options.peer_python, options.peer_bench, "--lane", lane, "--sessions", "40")
        cpu = ours["cpu_ms"]
        yield Row(
            f"framework CPU per session, {lane}, storage on",
            shown(theirs, "cpu_ms_per_session", " ms (no storage)"),
            f"{cpu:.1f} ms",
            f"<= {bar:g} ms",
            cpu <= bar,
        )
    ours = worker("latency")
    theirs = peer(options.peer_python, options.peer_bench, "--lane", "auto", "--sessions", "10", "--latency-ms", "100")
    peer_ratio = f"{theirs['session_p50_s'] / 0.1:.1f} (no storage)" if theirs else "-"
    yield Row(
        "answer latency, auto, storage on / bare call",
        peer_ratio,
        f"{ours['ratio']:.3f}",
        "<= 1.05",
        ours["ratio"] <= 1.05,
    )


def crowd_rows() -> Iterator[Row]:
    """Two thousand sessions at once in one process."""
    found = worker("crowd")
    yield Row(
        f"{found['sessions']} sessions at once, storage on: failed",
        "17-25 % of 8",
        str(found["failed"]),
        "0",
        found["failed"] == 0,
    )
    stall = found["stall_p99_ms"]
    yield Row("the same: event-loop stall p99", "-", f"{stall:.0f} ms", "<= 50 ms", stall <= 50)
    yield Row("the same: database connections", "-", str(found["connections"]), "<= 8", found["connections"] <= 8)
    trips = found["round_trips"]
    yield Row("database round trips per session", "91", f"{trips:.2f}", "<= 4", trips <= 4)


def copy_rows() -> Iterator[Row]:
    """How often one answer is written down."""
    found = worker("copies")
    for where, peer_count, bar in (("judge prompts", 28, 2), ("database", 82, 2)):
        count = found[where.split()[0]]
        yield Row(f"copies of one answer: {where}", str(peer_count), str(count), f"<= {bar}", count <= bar)
    kept = found["cas"]
    yield Row("updates of one playbook by 8 writers x 50", "half lost", f"{kept} of 400", "400 of 400", kept == 400)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mock", type=Path, required=True, help="mock_llm.py")
    parser.add_argument("--peer-python", help="python of the peer's virtual environment")
    parser.add_argument("--peer-bench", help="bench_peer.py")
    parser.add_argument("--no-install", action="store_true", help="leave out the two rows of a fresh install")
    options = parser.parse_args()
    rows: list[Row] = []
    with mock_server(options.mock):
        for part in (
            [] if options.no_install else install_rows(),
            start_rows(options.peer_python),
            call_rows(options),
            token_rows(),
            cost_rows(options),
            crowd_rows(),
            copy_rows(),
        ):
            for row in part:
                rows.append(row)
                print(
                    f"{'ok  ' if row.holds else 'MISS'} {row.figure}: {row.ours} (bar {row.bar}; peer {row.peer})",
                    file=sys.stderr,
                )
    print("| figure | peer | ours | bar | |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.figure} | {row.peer} | {row.ours} | {row.bar} | {'ok' if row.holds else 'missed'} |")
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
