"""Readers written for the published tables: their queries, and, where it is installed, their own code.

`ATLAS_PEER_PYTHON` names a Python that has the published SDK (`pip install arc-atlas==0.1.16`); its reader is then run
against our database as it is, and must lose no field.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from export_kit import ANSWER, GUIDANCE, execute, records_of

from atlas.export import SessionRecord
from atlas.schema import Session

Filled = tuple[str, dict[str, Session]]
PEER = os.environ.get("ATLAS_PEER_PYTHON")
READER = """
import asyncio, json, os
from atlas.runtime.storage.database import Database
from atlas.training_data import get_session_by_id_async, get_training_sessions_async, count_training_sessions_async

async def leave_the_schema(self, connection):  # The published wheel lacks the file it would read here.
    pass

Database._initialize_schema = leave_the_schema

async def main():
    url = os.environ["DATABASE_URL"]
    sessions = await get_training_sessions_async(url, limit=100)
    assert await count_training_sessions_async(url) == len(sessions)
    good = await get_training_sessions_async(url, min_reward=0.8)
    assert {session.session_reward["score"] for session in good} == {0.9}
    assert len(await get_training_sessions_async(url, learning_key="weeks")) == 1
    assert (await get_session_by_id_async(url, 1)).task
    print(json.dumps([session.to_dict() for session in sessions], default=str))

asyncio.run(main())
"""


@pytest.fixture
async def records(filled: Filled) -> list[SessionRecord]:
    return await records_of(filled[0], events=True)


async def test_sessions_are_read_by_reward_key_and_state(filled: Filled) -> None:
    url = filled[0]
    good = await execute(
        url,
        "SELECT id, task, (reward_stats->>'score')::float AS reward FROM sessions"
        " WHERE (reward_stats->>'score')::float >= 0.8 AND status = 'succeeded' ORDER BY created_at DESC LIMIT 1000",
    )
    assert [row["reward"] for row in good] == [0.9] * 6
    of_key = await execute(url, """SELECT task FROM sessions WHERE metadata @> '{"learning_key": "weeks"}'""")
    assert [row["task"] for row in of_key] == ["Add the invoices of all week."]
    unusual = "SELECT id FROM sessions WHERE review_status = 'pending' AND metadata ? 'drift_alert'"
    assert len(await execute(url, unusual)) <= 8
    (average,) = await execute(
        url,
        "SELECT avg((reward_stats->>'score')::float) AS mean, count(*) AS n FROM sessions"
        " WHERE metadata->>'learning_key' = 'sums' AND reward IS NOT NULL",
    )
    assert (round(average["mean"], 6), average["n"]) == (0.9, 6)


async def test_steps_are_read_with_their_runtime_and_tool(filled: Filled) -> None:
    rows = await execute(
        filled[0],
        "SELECT s.task, sr.metadata->>'tool' AS tool, AVG((sr.metadata->>'runtime')::float) AS ms, COUNT(*) AS steps"
        " FROM step_results sr JOIN sessions s ON sr.session_id = s.id"
        " WHERE sr.metadata->>'runtime' IS NOT NULL GROUP BY s.task, sr.metadata->>'tool' ORDER BY ms DESC",
    )
    told = {row["task"]: (row["tool"], row["steps"]) for row in rows}
    assert told["Add the invoices with the tool."] == ("add_up", 1)
    assert told["Add the invoices of all week."] == (None, 2)
    assert all(row["ms"] > 0 for row in rows)
    guided = await execute(
        filled[0],
        "SELECT sr.output, sr.attempts, g.note FROM step_results sr JOIN guidance_notes g USING (session_id, step_id)",
    )
    assert [tuple(row) for row in guided] == [(ANSWER, 2, GUIDANCE)]


async def test_events_are_counted_by_their_published_types(filled: Filled) -> None:
    counted = await execute(
        filled[0],
        "SELECT session_id, COUNT(*) AS n FROM trajectory_events"
        " WHERE event ->> 'event_type' = 'validation' GROUP BY session_id ORDER BY n",
    )
    assert [row["n"] for row in counted] == [1, 2, 2]
    kinds = await execute(
        filled[0], "SELECT event->>'event_type' AS kind, count(*) AS n FROM trajectory_events GROUP BY 1"
    )
    told = {row["kind"]: row["n"] for row in kinds}
    assert (told["tool_call"], told["reward"]) == (1, 7)
    newest_first = await execute(
        filled[0], "SELECT event FROM trajectory_events WHERE session_id = 1 ORDER BY id DESC LIMIT 200"
    )
    assert json.loads(newest_first[-1]["event"])["type"] == "session_started"


async def test_the_learning_registry_is_read_by_key(filled: Filled) -> None:
    rows = await execute(
        filled[0],
        "SELECT learning_key, updated_at, student_learning, teacher_learning, metadata FROM learning_registry"
        " WHERE learning_key LIKE 'sums%' ORDER BY updated_at DESC",
    )
    assert len(rows) <= 1


async def test_a_step_without_a_score_has_no_score_that_a_reader_could_misread(filled: Filled) -> None:
    rows = await execute(
        filled[0], "SELECT evaluation FROM step_results UNION ALL SELECT evaluation FROM step_attempts"
    )
    for row in rows:
        reward = json.loads(row["evaluation"])["reward"] or {}
        assert "score" not in reward or isinstance(reward["score"], float)


def lost(record: SessionRecord, read: dict[str, Any]) -> list[str]:
    """The fields of a record that a reader's dictionary does not have."""
    events = record.trajectory_events or ()
    pairs = [
        ("task", record.task, read["task"]),
        ("final_answer", record.final_answer, read["final_answer"] or ""),
        ("plan", record.plan.to_dict(), read["plan"]),
        ("student_learning", record.student_learning, read["student_learning"]),
        ("teacher_learning", record.teacher_learning, read["teacher_learning"]),
        ("adaptive_summary", record.adaptive_summary and record.adaptive_summary.to_dict(), read["adaptive_summary"]),
        ("learning_key", record.learning_key, read["session_metadata"]["learning_key"]),
        ("events", [event.type for event in reversed(events)], [_type(event) for event in read["trajectory_events"]]),
        ("steps", len(record.steps), len(read["steps"])),
    ]
    if record.session_reward:
        judges = [judge.identifier for judge in record.session_reward.judges]
        pairs += [
            ("score", record.reward, read["session_reward"]["score"]),
            ("judges", judges, [judge["identifier"] for judge in read["session_reward"]["judges"]]),
        ]
    for ours, theirs in zip(record.steps, read["steps"], strict=False):
        for field in ("step_id", "description", "output", "attempts"):
            pairs.append((field, ours[field], theirs[field]))
        pairs += [
            ("guidance", list(ours.guidance), theirs["guidance"]),
            ("validation", ours.validation.get("valid"), theirs["validation"].get("valid")),
            ("depends_on", list(ours.depends_on), theirs["depends_on"]),
            ("runtime", ours.runtime, theirs["runtime"]),
            ("tool", ours.tool, theirs["metadata"].get("tool")),
            ("step score", ours.reward.score or 0.0, theirs["reward"]["score"]),
            ("attempt_history", len(ours.attempt_history), len(theirs["metadata"]["attempt_history"])),
            ("trace", True, ours.trace in theirs["trace"]),
        ]
    return [name for name, ours, theirs in pairs if ours != theirs]


def _type(event: dict[str, Any]) -> str:
    return json.loads(event["event"])["type"]


@pytest.mark.skipif(PEER is None, reason="ATLAS_PEER_PYTHON names no Python with the published SDK")
def test_the_published_reader_loses_no_field(filled: Filled, records: list[SessionRecord], tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(PEER), "-c", READER],
        env=environ | {"DATABASE_URL": filled[0], "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert [session["task"] for session in read] == [record.task for record in records]
    assert {record.task: lost(record, session) for record, session in zip(records, read, strict=True)} == {
        record.task: [] for record in records
    }
