"""Lanes with a student that takes the bare request only."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from atlas.config import AtlasConfig
from atlas.runtime import open_runtime
from atlas.schema import Session, Task
from atlas.schema.errors import ConfigError

REFUSE = json.dumps({"accepted": False, "guidance": "Recompute the total."})


def config(folder: Path, template: str, **more: Any) -> AtlasConfig:
    script = [{"when": "You verify", "reply": json.loads(REFUSE)}, {"when": "", "reply": {"entries": []}}]
    (folder / "script.yaml").write_text(json.dumps(script))
    code = "import sys; print('said', sys.stdin.read())"
    agent = {"type": "process", "command": [sys.executable, "-c", code], "input": template}
    llm = {"provider": "scripted", "model": "script.yaml"}
    return AtlasConfig.model_validate({"agent": agent, "teacher": {"llm": llm}, "storage": None} | more)


async def played(settings: AtlasConfig, folder: Path, lane: Any) -> Session:
    async with await open_runtime(settings, folder=folder) as runtime:
        running = await runtime.start(Task(prompt="Add up."), lane=lane)
        return await running.settled()


@pytest.mark.parametrize("lane", ["auto", "paired", "coach"])
async def test_what_cannot_reach_the_student_is_on_record_and_not_tried(tmp_path: Path, lane: Any) -> None:
    session = await played(config(tmp_path, "{task}"), tmp_path, lane)
    assert (session.answer, len(session.attempts)) == ("said Add up.", 1)
    told = [lack.what for lack in session.degraded]
    expected = {
        "auto": ["no playbook and no guidance for the student"],
        "paired": ["no playbook and no guidance for the student", "no retry; the attempt stands, not accepted"],
    }
    plan = ["no plan; playing paired"] if lane == "coach" else []
    assert told == plan + expected.get(lane, expected["paired"])
    assert session.accepted is (None if lane == "auto" else False)
    assert session.student_memory.shown == ()


async def test_one_that_takes_the_prompt_is_guided(tmp_path: Path) -> None:
    session = await played(config(tmp_path, "{prompt}"), tmp_path, "paired")
    assert len(session.attempts) == 2
    assert "Recompute the total." in (session.answer or "")
    assert session.degraded == ()


async def test_a_gate_that_could_hold_nothing_back_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, "{prompt}", orchestration={"step_gate": "json:dumps"})
    with pytest.raises(ConfigError, match="cannot hold back process:python"):
        await played(settings, tmp_path, "auto")
