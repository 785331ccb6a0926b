"""A recorded session is replayed offline, byte for byte, and a changed prompt is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.config import AtlasConfig
from atlas.runtime import open_runtime
from atlas.schema import Task

PLAN = {
    "steps": [
        {"id": 1, "description": "add", "depends_on": []},
        {"id": 2, "description": "double", "depends_on": []},
        {"id": 3, "description": "join", "depends_on": [1, 2]},
    ]
}
RULES: list[dict[str, object]] = [
    {"when": "Recompute", "reply": {"accepted": True, "guidance": None}},
    {"when": "You verify", "reply": {"accepted": False, "guidance": "Recompute it."}},
    {"when": "You review another agent's plan", "reply": {"accepted": True, "guidance": None}},
    {"when": "You split the task", "reply": PLAN},
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "", "reply": "The total is 60."},
]


def settings(folder: Path, *, prompt: str = "Be exact.") -> AtlasConfig:
    (folder / "script.json").write_text(json.dumps(RULES))
    return AtlasConfig.model_validate(
        {
            "agent": {
                "type": "openai",
                "system_prompt": prompt,
                "llm": {"provider": "scripted", "model": "script.json"},
            },
            "checks": [{"type": "regex", "pattern": "60"}],
        }
    )


@pytest.mark.parametrize("lane", ["auto", "paired", "coach"])
async def test_a_session_replays_byte_for_byte_in_another_process_without_its_models(tmp_path: Path, lane) -> None:
    async with await open_runtime(settings(tmp_path), folder=tmp_path) as runtime:
        running = await runtime.start(Task(prompt="Add up."), lane=lane)
        session = await running.settled()
        before = await runtime.store.events(session.id)
    (tmp_path / "script.json").write_text("[]")
    silent = settings(tmp_path)
    (tmp_path / "script.json").write_text(json.dumps([{"when": "nobody says this", "reply": "x"}]))
    async with await open_runtime(silent, folder=tmp_path) as runtime:
        replayed = await runtime.replay(session.id[:13])
        assert replayed.identical, replayed.differences
        assert replayed.model_calls >= 1
        assert replayed.compared >= 2
        assert await runtime.store.events(session.id) == before


async def test_a_changed_prompt_is_noticed(tmp_path: Path) -> None:
    async with await open_runtime(settings(tmp_path), folder=tmp_path) as runtime:
        session = await (await runtime.start(Task(prompt="Add up."), lane="paired")).settled()
    async with await open_runtime(settings(tmp_path, prompt="Be brief."), folder=tmp_path) as runtime:
        replayed = await runtime.replay(session.id)
    assert not replayed.identical
    assert "has no answer to request" in replayed.differences[0]


async def test_a_failure_fails_again_in_the_replay(tmp_path: Path) -> None:
    """A teacher that was down while the session ran is down in the replay too."""
    teacher = {"provider": "vllm", "model": "t", "api_base": "http://127.0.0.1:9/v1", "retry": {"attempts": 1}}
    config = settings(tmp_path).model_dump(by_alias=True) | {"teacher": {"llm": teacher}}
    config["learning"]["enabled"] = False
    async with await open_runtime(AtlasConfig.model_validate(config), folder=tmp_path) as runtime:
        session = await (await runtime.start(Task(prompt="Add up."), lane="paired")).settled()
        assert session.accepted is None
        assert session.degraded
        replayed = await runtime.replay(session.id)
    assert replayed.identical, replayed.differences


async def test_a_task_with_half_a_surrogate_pair_replays_too(tmp_path: Path) -> None:
    given = AtlasConfig.model_validate({"agent": {"type": "given"}})
    async with await open_runtime(given, folder=tmp_path, agent=lambda prompt: f"got {prompt}") as runtime:
        session = await (await runtime.start(Task(prompt="half of a surrogate \ud83d and NUL \x00"))).settled()
        assert (await runtime.store.session(session.id)) == session
        assert (await runtime.replay(session.id)).identical
