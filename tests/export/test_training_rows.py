"""Rows for trainers: whose words, with which reward, and never more than the role was told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_kit import ANSWER, EVERY, GUIDANCE, Bases, exported, store_bodies

from atlas.export import SessionRecord
from atlas.schema import Attempt, Body, Reward, Session, StepReward, Task
from atlas.schema.events import Answered, Attempted, Finished, Rewarded, SessionStarted

Filled = tuple[str, dict[str, Session]]


async def rows(filled: Filled, folder: Path, **options: Any) -> list[dict[str, Any]]:
    await exported(filled[0], folder / "rows.jsonl", **options)
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]


def of(found: list[dict[str, Any]], session: Session) -> list[dict[str, Any]]:
    return [row for row in found if row["session_id"] == session.id]


def said(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


async def test_sft_rows_are_what_the_student_said_last(filled: Filled, tmp_path: Path) -> None:
    found = await rows(filled, tmp_path, format="sft")
    (guided,) = of(found, filled[1]["paired"])
    assert [role for role, _ in said(guided["messages"])] == ["system", "user", "assistant", "user", "assistant"]
    assert said(guided["messages"])[-1] == ("assistant", ANSWER)
    assert (guided["attempt"], guided["accepted"], guided["reward"], guided["lane"]) == (2, True, 0.9, "paired")
    coached = of(found, filled[1]["coach"])
    assert [(row["purpose"], row["step"]) for row in coached] == [
        ("plan", 0),
        ("step", 1),
        ("step", 2),
        ("synthesis", 0),
    ]


async def test_a_row_with_tools_holds_calls_results_and_schemas(filled: Filled, tmp_path: Path) -> None:
    (row,) = of(await rows(filled, tmp_path, format="sft"), filled[1]["tool"])
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    (call,) = row["messages"][2]["tool_calls"]
    assert call["function"] == {"name": "add_up", "arguments": '{"amounts": [10, 20, 30]}'}
    assert (row["messages"][3]["content"], row["messages"][3]["tool_call_id"]) == ("60", call["id"])
    (tool,) = row["tools"]
    assert tool["function"]["name"] == "add_up"
    assert tool["function"]["parameters"]["properties"]["amounts"]["type"] == "array"


async def test_the_teacher_is_trained_by_its_own_words(filled: Filled, tmp_path: Path) -> None:
    found = await rows(filled, tmp_path, format="sft", role="teacher")
    words = of(found, filled[1]["paired"])
    assert [(row["purpose"], row["attempt"], row["accepted"]) for row in words] == [
        ("verify", 1, False),
        ("verify", 2, True),
    ]
    assert json.loads(words[0]["messages"][-1]["content"]) == {"accepted": False, "guidance": GUIDANCE}
    assert [row["purpose"] for row in of(found, filled[1]["coach"])] == ["plan_review", "verify", "verify"]
    assert of(found, filled[1]["degraded"]) == []
    assert {row["role"] for row in found} == {"teacher"}


async def test_without_a_reward_there_is_no_row(filled: Filled, tmp_path: Path) -> None:
    for name in ("sft", "gkd"):
        found = await rows(filled, tmp_path, format=name)
        assert found
        assert of(found, filled[1]["unjudged"]) == of(found, filled[1]["failed"]) == []


async def test_gkd_rows_are_unguided_prompts_with_the_guided_answer(filled: Filled, tmp_path: Path) -> None:
    (row,) = of(await rows(filled, tmp_path, format="gkd"), filled[1]["paired"])
    assert [role for role, _ in said(row["messages"])] == ["system", "user", "assistant"]
    assert said(row["messages"])[1:] == [("user", "Add the invoices, guided."), ("assistant", ANSWER)]
    assert row["guidance"] == [GUIDANCE]


async def test_grpo_rows_hold_all_tries_of_one_prompt(filled: Filled, tmp_path: Path) -> None:
    found = await rows(filled, tmp_path, format="grpo")
    twice = [row for row in found if row["prompt"][-1]["content"] == "Add the invoices of Monday."]
    (monday,) = twice
    assert monday["session_ids"] == [filled[1]["auto"].id, filled[1]["again"].id]
    assert monday["rewards"] == [0.9, 0.9]
    assert [said(completion) for completion in monday["completions"]] == [[("assistant", ANSWER)]] * 2
    assert all(len(row["completions"]) == len(row["rewards"]) == len(row["attempts"]) for row in found)


async def test_attempts_with_rewards_of_their_own_are_told_apart(bases: Bases, tmp_path: Path) -> None:
    """An agent whose calls nobody saw: the prompt is the task, each attempt a completion."""
    url = await bases.new()
    steps = (StepReward(step=0, attempt=1, value=0.25), StepReward(step=0, attempt=2, value=1.0))
    bodies: list[Body] = [
        SessionStarted(task=Task(prompt="Question?", payload={"expected": "GOLD"})),
        Attempted(attempt=Attempt(number=1, output="first")),
        Attempted(attempt=Attempt(number=2, output="second", guidance="better")),
        Answered(answer="second", accepted=True),
        Finished(status="succeeded"),
        Rewarded(reward=Reward(value=1.0, source="check", steps=steps)),
    ]
    await store_bodies(tmp_path, url, bodies)
    (row,) = await rows((url, {}), tmp_path, format="grpo")
    assert said(row["prompt"]) == [("user", "Question?")]
    assert [completion[0]["content"] for completion in row["completions"]] == ["first", "second"]
    assert row["rewards"] == [0.25, 1.0]
    (row,) = await rows((url, {}), tmp_path, format="sft")
    assert said(row["messages"]) == [("user", "Question?"), ("assistant", "second")]


@pytest.mark.parametrize(
    "options", [{"format": "sft"}, {"format": "sft", "role": "teacher"}, {"format": "gkd"}, {"format": "grpo"}]
)
async def test_the_gold_answer_is_in_no_row(filled: Filled, tmp_path: Path, options: dict[str, str]) -> None:
    found = await rows(filled, tmp_path, **options)
    assert found
    assert "GOLD-60" not in json.dumps(found)


@pytest.mark.parametrize("name", ["sft", "gkd", "grpo"])
async def test_hugging_face_datasets_takes_the_rows(filled: Filled, tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    found = await rows(filled, tmp_path, format=name)
    table = datasets.load_dataset(
        "json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [dict(row) for row in table] == found


async def test_a_parquet_table_holds_the_records(filled: Filled, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    told = await exported(filled[0], tmp_path / "a.parquet", format="parquet")
    await exported(filled[0], tmp_path / "a.jsonl")
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert told.rows == len(table) == 8
    assert [row["record"] for row in table] == (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    for row in table:
        record = SessionRecord.model_validate_json(row["record"])
        assert (row["task"], row["reward"], row["lane"]) == (record.task, record.reward, record.lane)
        assert row["created_at"] == record.created_at


async def test_no_session_no_row(filled: Filled, tmp_path: Path) -> None:
    nobody = EVERY.model_copy(update={"tenant": "nobody"})
    for name in ("sft", "gkd", "grpo"):
        assert await rows(filled, tmp_path, format=name, selection=nobody) == []
