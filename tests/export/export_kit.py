"""Databases filled by the loop itself: scripted models, real Postgres, every lane."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from atlas.config import AtlasConfig
from atlas.export import (
    Exported,
    Imported,
    Order,
    Selection,
    SessionRecord,
    export,
    open_importer,
    open_reader,
    record_of,
)
from atlas.runtime import Runtime, open_runtime
from atlas.schema import Body, Event, Lane, Session, Task, new_id, now
from atlas.schema.errors import AtlasError
from atlas.store.database import Database
from atlas.store.embedded import start_embedded
from atlas.store.open import open_postgres

EVERY = Selection(reviews=None)
ANSWER = "The three invoice amounts 10, 20 and 30 add up to a total of 60; I added them twice, from both ends. " * 4
GUIDANCE = "Add the three amounts again, one after the other."
VERDICT = {
    "principles": [{"name": "correctness", "weight": 1.0, "description": "the total is right"}],
    "rationale": "The total is what the amounts give.",
    "score": 0.9,
    "uncertainty": 0.1,
    "student_note": "Add twice.",
    "teacher_note": "Ask for a second addition.",
}
TOOLS = '''
from atlas.agents.tools import tool

@tool(effect="none")
def add_up(amounts: list[int]) -> int:
    """Add numbers."""
    return sum(amounts)
'''
RULES: list[dict[str, object]] = [
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "You judge one finished piece", "reply": VERDICT},
    {"when": "You estimate", "reply": {"mode": "auto", "confidence": 0.5}},
    {"when": "A reviewer found a problem", "reply": ANSWER},
    {"when": "You review another agent's plan", "reply": {"accepted": True, "guidance": None}},
    {
        "when": "You split the task",
        "reply": {
            "steps": [
                {"id": 1, "description": "read the amounts", "depends_on": []},
                {"id": 2, "description": "add the amounts", "depends_on": [1]},
            ]
        },
    },
    {"when": "teacher is silent.\n</task", "reply": "(nothing that a parser takes)"},
    {"when": "A first draft", "reply": {"accepted": False, "guidance": GUIDANCE}},
    {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
    {"when": "You write the final answer", "reply": ANSWER},
    {"when": "do step 1 only", "reply": "The amounts are 10, 20 and 30."},
    {"when": "do step 2 only", "reply": "10 + 20 + 30 = 60."},
    {
        "when": "with the tool",
        "tool_calls": [{"name": "add_up", "arguments": {"amounts": [10, 20, 30]}}],
        "reply": ANSWER,
    },
    {"when": "guided", "reply": "A first draft: the total is 50."},
    {"when": "", "reply": ANSWER},
]


def config(folder: Path, url: str, **changes: object) -> AtlasConfig:
    (folder / "script.yaml").write_text(json.dumps(RULES))
    (folder / "export_tools.py").write_text(TOOLS)
    tree: dict[str, object] = {
        "agent": {
            "type": "openai",
            "llm": {"provider": "scripted", "model": "script.yaml"},
            "tools": ["export_tools:add_up"],
        },
        "storage": {"database_url": url},
        "metadata": {},
    }
    return AtlasConfig.model_validate(tree | changes)


@asynccontextmanager
async def opened(folder: Path, url: str, **changes: Any) -> AsyncIterator[Runtime]:
    agent = changes.pop("agent_function", None)
    runtime = await open_runtime(config(folder, url, **changes), folder=folder, agent=agent)
    try:
        yield runtime
    finally:
        await runtime.close()


async def play(runtime: Runtime, prompt: str, lane: Lane | None = None, key: str = "sums", **more: Any) -> Session:
    task = Task(prompt=prompt, learning_key=key, payload={"expected": "GOLD-60"})
    running = await runtime.start(task, lane=lane, metadata=more or None)
    return await running.settled()


async def populate(folder: Path, url: str) -> dict[str, Session]:
    """A session of each kind, by name, oldest first."""
    done: dict[str, Session] = {}
    async with opened(folder, url) as runtime:
        done["auto"] = await play(runtime, "Add the invoices of Monday.", "auto", team="blue")
        done["paired"] = await play(runtime, "Add the invoices, guided.", "paired")
        done["coach"] = await play(runtime, "Add the invoices of all week.", "coach", key="weeks")
        done["tool"] = await play(runtime, "Add the invoices with the tool.", "auto")
        done["degraded"] = await play(runtime, "Add the invoices; the teacher is silent.", "paired")
        done["again"] = await play(runtime, "Add the invoices of Monday.", "auto")
    async with opened(folder, url, rim={"active_judges": {"process": False, "helpfulness": False}}) as runtime:
        done["unjudged"] = await play(runtime, "Add what nobody judges.", "paired")
    async with opened(folder, url, agent={"type": "given"}, agent_function=broken) as runtime:
        running = await runtime.start(Task(prompt="Fail.", learning_key="failures"))
        try:
            await running.answered()
        except AtlasError as error:
            done["failed"] = await runtime.store.session(str(error.session_id))
    return done


def broken(prompt: str) -> str:
    raise RuntimeError("the shop is closed")


class Bases:
    """Databases on one server, made when they are asked for."""

    def __init__(self, server: str) -> None:
        self._server = server

    async def new(self) -> str:
        """The URL of a fresh, empty database with our schema."""
        name = f"t{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        url = self._server.replace("/postgres?", f"/{name}?")
        await Database.prepare(url)
        return url


async def execute(url: str, statement: str, *args: object) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *args)
    finally:
        await connection.close()


async def approve(url: str, *session_ids: str) -> None:
    """What a reviewer does, without the reviewer."""
    await execute(
        url,
        "UPDATE sessions SET review_status = 'approved' WHERE uid = ANY($1)",
        [uuid.UUID(one) for one in session_ids],
    )


async def records_of(url: str, selection: Selection = EVERY, *, events: bool = False) -> list[SessionRecord]:
    """The records of a database, newest first."""
    async with open_reader(url) as reader:
        return [record_of(stored, events=events) async for stored in reader.sessions(selection)]


async def exported(url: str, output: Path, selection: Selection = EVERY, **more: Any) -> Exported:
    """Export a database into a file."""
    async with open_reader(url) as reader:
        return await export(reader, Order(output=str(output), selection=selection, **more))


async def imported(url: str, file: Path, folder: Path) -> tuple[Imported, dict[int, str]]:
    """Import a file; also the reasons by line."""
    reasons: dict[int, str] = {}
    async with open_importer(url, folder=folder) as importer:
        return await importer.take(str(file), reasons.__setitem__), reasons


async def store_bodies(folder: Path, url: str, *sessions: Sequence[Body]) -> list[str]:
    """Put sessions made of these bodies into a database; gives their ids."""
    store = await open_postgres(url, folder=folder)
    ids: list[str] = []
    try:
        for bodies in sessions:
            uid = new_id()
            ids.append(uid)
            events = [Event(session_id=uid, seq=seq, at=now(), body=body) for seq, body in enumerate(bodies, start=1)]
            await store.append(events)
        told = await store.flush()
        assert told.waiting == told.refused == 0
    finally:
        await store.close()
    return ids


@pytest.fixture(scope="session")
def bases() -> Iterator[Bases]:
    """A short folder that an unprivileged user may enter, unlike pytest's own."""
    in_memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="atlas-test-", dir=in_memory if in_memory.is_dir() else None))
    folder.chmod(0o755)
    with ThreadPoolExecutor(1) as elsewhere:  # A loop may already run in this thread.
        share = elsewhere.submit(lambda: asyncio.run(start_embedded(folder / "server"))).result()
        yield Bases(share.dsn)
        elsewhere.submit(lambda: asyncio.run(share.close())).result()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def filled(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Session]]:
    """A database with a session of each kind, all pending; tests read it only."""

    async def fill() -> tuple[str, dict[str, Session]]:
        url = await bases.new()
        return url, await populate(tmp_path_factory.mktemp("filled"), url)

    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(lambda: asyncio.run(fill())).result()
