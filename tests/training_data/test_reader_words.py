"""What the published documentation asks of the tables, and a session that saw lessons, read by SQL and by readers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from export_kit import Bases, execute, opened, play, populate, records_of

from atlas.export import SessionRecord
from atlas.schema import Cue, Entry, Playbook
from atlas.schema.memory import Audience

PEER = os.environ.get("ATLAS_PEER_PYTHON")
CHECKOUT = os.environ.get("ATLAS_PEER_CHECKOUT")
LESSONS = "service:lessons"


def book(audience: Audience, *actions: str) -> Playbook:
    entries = tuple(
        Entry(id=f"{audience}-{n}", audience=audience, cue=Cue(kind="always"), action=action, state="active")
        for n, action in enumerate(actions)
    )
    return Playbook(key=LESSONS, audience=audience, version=1, entries=entries)


@pytest.fixture
async def taught(bases: Bases, tmp_path: Path) -> tuple[str, list[SessionRecord]]:
    """A database in which six sessions ran with lessons for both roles; its records, newest first."""
    url = await bases.new()
    async with opened(tmp_path, url) as runtime:
        await runtime.store.publish([book("student", "Add twice.", "Begin at the end."), book("teacher", "Add, too.")])
        for n in range(6):
            await play(runtime, f"Add the invoices, number {n}.", "paired", key=LESSONS)
    return url, await records_of(url, events=True)


async def test_metadata_tells_what_a_session_saw_and_consumed(taught: tuple[str, list[SessionRecord]]) -> None:
    url, records = taught
    rows = await execute(
        url,
        "SELECT uid::text, metadata->'learning_history' AS history, metadata->'token_usage' AS used,"
        " metadata->>'applied_student_learning' AS student, metadata->>'applied_teacher_learning' AS teacher"
        """ FROM sessions WHERE metadata @> '{"learning_key": "service:lessons"}' ORDER BY created_at DESC""",
    )
    assert [row["uid"] for row in rows] == [record.session_id for record in records]
    seen = 0
    for row, record in zip(rows, records, strict=True):
        assert json.loads(row["history"]) == record.learning_history
        used = [role.usage for role in record.usage]
        assert json.loads(row["used"]) == {
            "calls": sum(one.calls for one in used),
            "prompt_tokens": sum(one.prompt_tokens for one in used),
            "completion_tokens": sum(one.completion_tokens for one in used),
            "total_tokens": sum(one.tokens for one in used),
        }
        entries = (record.learning_history or {})["entries"]
        for audience in ("student", "teacher"):
            lines = [entry["action"] for entry in entries if entry["audience"] == audience]
            assert row[audience] == ("\n".join(lines) or None)
            seen += len(lines)
    assert seen > 6


async def test_the_documented_questions_have_answers(taught: tuple[str, list[SessionRecord]]) -> None:
    url, records = taught
    (lasted,) = await execute(
        url,
        "SELECT avg(extract(epoch FROM (completed_at - created_at))) AS s, count(*) AS n FROM sessions"
        " WHERE completed_at IS NOT NULL AND created_at > now() - interval '7 days'",
    )
    assert (lasted["n"], lasted["s"] > 0) == (6, True)
    (tokens,) = await execute(
        url,
        "SELECT avg((metadata->'token_usage'->>'total_tokens')::numeric) AS mean FROM sessions"
        " WHERE metadata ? 'token_usage' AND created_at > now() - interval '7 days'",
    )
    total = sum(role.usage.tokens for record in records for role in record.usage)
    assert float(tokens["mean"]) == pytest.approx(total / 6)
    (adopted,) = await execute(
        url,
        "SELECT count(*) FILTER (WHERE metadata->>'applied_student_learning' IS NOT NULL) * 100.0 / count(*) AS share"
        " FROM sessions WHERE created_at > now() - interval '7 days'",
    )
    assert 0 < adopted["share"] <= 100
    by_tool = await execute(
        url,
        "SELECT metadata->>'tool' AS tool_name, avg((metadata->>'runtime')::float) AS ms FROM step_results"
        " WHERE metadata->>'runtime' IS NOT NULL GROUP BY tool_name ORDER BY ms DESC",
    )
    assert [row["tool_name"] for row in by_tool] == [None]
    books = await execute(
        url,
        "SELECT learning_key, updated_at, student_learning, teacher_learning, metadata FROM learning_registry"
        " WHERE learning_key LIKE 'service:%' ORDER BY updated_at DESC",
    )
    assert [(row["student_learning"], row["teacher_learning"]) for row in books] == [
        ("Add twice.\nBegin at the end.", "Add, too.")
    ]
    waiting = await execute(
        url,
        "SELECT id, task, metadata->'drift_alert' AS drift_alert FROM sessions"
        " WHERE review_status = 'pending' AND metadata ? 'drift_alert'",
    )
    assert [row["drift_alert"] for row in waiting] == ["false"]  # The sixth has five before it to be compared with.
    keys = await execute(
        url,
        "SELECT metadata->>'learning_key' AS learning_key, count(*) AS n, min(created_at), max(created_at)"
        " FROM sessions WHERE metadata->>'learning_key' IS NOT NULL GROUP BY learning_key",
    )
    assert [(row["learning_key"], row["n"]) for row in keys] == [(LESSONS, 6)]


@pytest.mark.skipif(PEER is None or CHECKOUT is None, reason="ATLAS_PEER_PYTHON, ATLAS_PEER_CHECKOUT: no published SDK")
async def test_the_published_sdk_passes_its_own_test_on_our_database(bases: Bases, tmp_path: Path) -> None:
    """Also what it skips on an empty database. The SDK applies its own schema first, which must do no harm."""
    url = await bases.new()
    await populate(tmp_path, url)
    environ: dict[str, Any] = {**os.environ, "DATABASE_URL": url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("ATLAS_PEER_PYTEST"), CHECKOUT]))
    command = [str(PEER), "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    test = Path(str(CHECKOUT)) / "tests" / "integration" / "test_training_data_integration.py"
    done = await asyncio.to_thread(
        subprocess.run, [*command, str(test)], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
    assert "skipped" not in done.stdout
    assert len(await records_of(url)) == 8
