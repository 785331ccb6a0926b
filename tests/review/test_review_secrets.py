"""What is planted in any field of a session reaches neither database, spool, export nor log; the caller keeps it."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from pathlib import Path

import asyncpg
import pytest
from review_kit import events_of, put, story
from test_redaction import core, secrets

from atlas.cli.app import run_command
from atlas.cli.arc import arc
from atlas.config import RuntimeSafetyConfig
from atlas.schema import Cue, Entry, Playbook, Task, rebuild
from atlas.store import MemoryStore, safety_of
from atlas.store.open import open_postgres
from atlas.store.pooling import Bodies, Pool
from atlas.store.spool import Row, micros

KNOWN = "correct-horse-battery"


def planted() -> dict[str, str]:
    """200 secrets and more, by what must not be found."""
    found = {core(kind, text): text for seed in range(11) for kind, text in secrets(100 + seed).items()}
    return {**found, KNOWN: f"the password is {KNOWN}, {KNOWN}"}


async def everything(url: str) -> str:
    """All rows of all tables as text."""
    connection = await asyncpg.connect(url)
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    rows = [await connection.fetch(f'SELECT t::text FROM "{table[0]}" t') for table in tables]
    await connection.close()
    return "\n".join(str(row[0]) for found in rows for row in found)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_PASSWORD", KNOWN)


async def test_none_of_two_hundred_is_stored_exported_or_logged(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = planted()
    assert len(secret) > 200
    store = await open_postgres(url, folder=tmp_path / "state")
    for text in secret.values():
        events = events_of(story(text))
        await store.append(events)
        spooled = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*.spool"))
        assert not any(one.encode() in spooled for one in secret)
        entry = Entry(id="e", audience="student", cue=Cue(text=text), action=text, reason=text)
        book = Playbook(key=events[0].session_id, audience="student", version=1, entries=(entry,))
        await store.flush()
        await store.commit(rebuild(events), [book])
        assert text in rebuild(events).answer  # The caller's own session is what it was.
    await store.close()
    dump = await everything(url)
    assert [one for one in secret if one in dump or json.dumps(one)[1:-1] in dump] == []
    assert "[redacted:" in dump
    exported = tmp_path / "all.jsonl"
    command = ["--database-url", url, "--output", str(exported), "--include-all-statuses", "--quiet"]
    assert await in_thread(command) == 0
    assert exported.read_text().count("\n") == len(secret)
    assert [one for one in secret if one in exported.read_text()] == []
    assert [one for one in secret if one in caplog.text] == []


async def in_thread(command: list[str]) -> int:
    return await asyncio.to_thread(run_command, command, arc)


async def test_the_memory_store_keeps_none_either() -> None:
    store = MemoryStore()
    secret = planted()
    for text in secret.values():
        uid = await put(store, events_of(story(text)))
        told = "".join(event.model_dump_json() for event in await store.events(uid))
        assert [one for one in secret if one in told] == []


async def test_a_payload_field_that_is_named_like_a_secret_is_one() -> None:
    kept = MemoryStore()
    task = Task(prompt="log in", payload={"password": "x1", "user": "ada", "schema": {"password": {"type": "string"}}})
    uid = await put(kept, events_of(story("fine", task=task)))
    session = await kept.session(uid)
    assert session is not None
    assert session.task.payload == {
        "password": "[redacted:field]",
        "user": "ada",
        "schema": {"password": {"type": "string"}},
    }


async def test_a_key_that_is_redacted_is_found_again(url: str, tmp_path: Path) -> None:
    store = await open_postgres(url, folder=tmp_path)
    await store.publish([Playbook(key=KNOWN, audience="student", version=1)])
    assert (await store.playbook("default", KNOWN, "student")).version == 1
    assert (await store.background("default", KNOWN, limit=3)).student.version == 1
    await store.close()


async def test_without_content_only_lengths_and_hashes_are_stored(url: str, tmp_path: Path) -> None:
    safety = safety_of(RuntimeSafetyConfig(capture_content=False))
    store = await open_postgres(url, folder=tmp_path, safety=safety)
    uid = await put(store, events_of(story("the very private content", task=Task(prompt="the very private content"))))
    session = await store.session(uid)
    events = await store.events(uid)
    await store.close()
    assert session is not None
    assert session.answer is not None
    assert session.answer.startswith("[withheld: 24 characters, sha256 ")
    assert session.reward is not None
    assert session.reward.value == 0.9
    bodies = {event.body.type: event.body.model_dump_json() for event in events}
    told = [kind for kind, text in bodies.items() if "very private" in text]
    assert told == ["session_started", "triaged", "routed", "degraded"]  # The caller's labels, tags and reasons.


async def test_events_that_were_encoded_elsewhere_are_cleaned(url: str, tmp_path: Path) -> None:
    store = await open_postgres(url, folder=tmp_path)
    for text, changed in ((f"password={KNOWN} " * 9, True), ("nothing to hide here, " * 9, False)):
        pool = Pool()
        events = events_of(story(text))
        rows = [
            Row(uuid.UUID(event.session_id), event.seq, micros(event.at), pool.encode(event.seq, event.body))
            for event in events
        ]
        clean = store.cleaned(rows)
        assert (clean is not rows) == changed
        assert not any(KNOWN.encode() in row.payload for row in clean)
        bodies = Bodies({row.seq: row.payload.decode() for row in clean})
        assert bodies.body(9)["answer"] == text.replace(KNOWN, "[redacted:BACKEND_PASSWORD]")
    await store.close()


async def test_redaction_can_be_off(url: str, tmp_path: Path) -> None:
    safety = safety_of(RuntimeSafetyConfig.model_validate({"redaction": {"enabled": False}}))
    store = await open_postgres(url, folder=tmp_path, safety=safety)
    uid = await put(store, events_of(story(f"password={KNOWN}")))
    session = await store.session(uid)
    await store.close()
    assert session is not None
    assert session.answer == f"password={KNOWN}"
