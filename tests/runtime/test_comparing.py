"""A session's control: the same task once more without a lesson, behind the answer, on the record and never served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas.config import AtlasConfig
from atlas.runtime import Runtime, open_runtime
from atlas.runtime.learning import may_repeat
from atlas.schema import Cue, Entry, Playbook, Session, Task, rebuild
from atlas.schema.events import Answered, Compared, Degraded, ModelCalled, Rewarded

TOOLS = """\
from atlas.agents.tools import tool

@tool(effect="none")
def look(name: str) -> str:
    return name

@tool(effect="idempotent")
def write(name: str) -> str:
    return name

def send(name: str) -> str:
    return name
"""
RULES: list[dict[str, object]] = [
    {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "say sixty", "reply": "The total is 60."},
    {"when": "Add", "reply": "The total is 50."},
]


def settings(folder: Path, rules: Sequence[dict[str, object]] = tuple(RULES), **learning: Any) -> AtlasConfig:
    (folder / "script.json").write_text(json.dumps(list(rules)))
    return AtlasConfig.model_validate(
        {
            "agent": {"type": "openai", "llm": {"provider": "scripted", "model": "script.json"}},
            "checks": [{"type": "regex", "pattern": "60"}],
            "learning": {"holdout_trial": 0.0} | learning,
            "storage": None,
        }
    )


def helpful(audience: str = "student") -> Entry:
    return Entry.model_validate(
        {"id": "sixty", "audience": audience, "cue": {"text": "add"}, "action": "say sixty", "state": "trial"}
    )


async def played(config: AtlasConfig, folder: Path, *entries: Entry, lane: Any = "auto") -> tuple[Session, Runtime]:
    async with await open_runtime(config, folder=folder) as runtime:
        for audience in ("student", "teacher"):
            mine = tuple(entry for entry in entries if entry.audience == audience)
            book = Playbook.model_validate({"key": "default", "audience": audience, "version": 1, "entries": mine})
            await runtime.store.publish([book])
        session = await (await runtime.start(Task(prompt="Add up."), lane=lane)).settled()
        return session, runtime


async def test_a_lesson_in_doubt_is_measured_on_the_same_task(tmp_path: Path) -> None:
    session, runtime = await played(settings(tmp_path), tmp_path, helpful())
    assert session.answer == "The total is 60."
    assert session.compared == Compared(audience="student", entry_id="sixty", shown=True, outcome=0.0)
    (entry,) = (await runtime.store.playbook("default", "default", "student")).entries
    assert (entry.evidence.pairs, entry.evidence.pair_gain, entry.evidence.n_with) == (1, 1.0, 1)
    assert entry.evidence.log_e_help > 0 > entry.evidence.log_e_harm


async def test_the_control_comes_after_the_answer_and_leaves_the_session_as_it_was(tmp_path: Path) -> None:
    session, runtime = await played(settings(tmp_path), tmp_path, helpful())
    events = await runtime.store.events(session.id)
    kinds = [type(event.body) for event in events]
    controls = [
        at for at, event in enumerate(events) if isinstance(event.body, ModelCalled) and event.body.actor == "control"
    ]
    assert len(controls) == 1
    assert kinds.index(Answered) < kinds.index(Rewarded) < controls[0] < kinds.index(Compared)
    assert kinds.count(Rewarded) == 1
    assert [attempt.output for attempt in session.attempts] == ["The total is 60."]
    assert {role.actor: role.usage.calls for role in session.usage} == {"student": 1, "control": 1}
    assert rebuild(events) == session


async def test_a_withheld_lesson_is_measured_the_other_way_round(tmp_path: Path) -> None:
    async with await open_runtime(settings(tmp_path, holdout_trial=0.9), folder=tmp_path) as runtime:
        await runtime.store.publish([Playbook(key="default", audience="student", version=1, entries=(helpful(),))])
        while True:
            session = await (await runtime.start(Task(prompt="Add up."), lane="auto")).settled()
            if session.student_memory.held_out:
                break
        assert session.answer == "The total is 50."
        assert session.compared == Compared(audience="student", entry_id="sixty", shown=False, outcome=1.0)


def judged_at_the_end(config: AtlasConfig, folder: Path) -> AtlasConfig:
    """The same, with a check that is asked about the answer and not about each try."""
    (folder / "final_check.py").write_text("def sixty(session):\n    return float('60' in session.answer)\n")
    tree = config.model_dump(exclude_unset=True)
    check = {"type": "python", "import_path": "final_check:sixty"}
    return AtlasConfig.model_validate(tree | {"checks": [check]})


async def test_a_teachers_wrong_word_is_not_held_against_a_lesson(tmp_path: Path) -> None:
    """It rejects a right first try; nobody rejects the control, which is as right: the lesson changed nothing."""
    rules: list[dict[str, object]] = [
        {"when": "You write lessons", "reply": {"entries": []}},
        {"when": "You verify", "reply": {"accepted": False, "guidance": "Say it again."}},
        {"when": "", "reply": "The total is 60."},
    ]
    config = judged_at_the_end(settings(tmp_path, rules), tmp_path)
    session, runtime = await played(config, tmp_path, helpful(), lane="paired")
    assert session.compared == Compared(audience="student", entry_id="sixty", shown=True, outcome=1.0, served=1.0)
    (entry,) = (await runtime.store.playbook("default", "default", "student")).entries
    assert (entry.evidence.pairs, entry.evidence.pair_gain, entry.evidence.log_e_harm) == (1, 0.0, 0.0)


async def test_a_wrong_first_try_that_the_teacher_let_pass_counts_as_wrong(tmp_path: Path) -> None:
    rules: list[dict[str, object]] = [
        {"when": "You write lessons", "reply": {"entries": []}},
        {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
        {"when": "say sixty", "reply": "The total is 50."},
        {"when": "Add", "reply": "The total is 60."},
    ]
    config = judged_at_the_end(settings(tmp_path, rules), tmp_path)
    session, _ = await played(config, tmp_path, helpful(), lane="paired")
    assert session.compared == Compared(audience="student", entry_id="sixty", shown=True, outcome=1.0, served=0.0)


async def test_a_lesson_beyond_doubt_costs_nothing(tmp_path: Path) -> None:
    proven = helpful().model_copy(update={"evidence": helpful().evidence.model_copy(update={"log_e_harm": -2.0})})
    session, _ = await played(settings(tmp_path), tmp_path, proven)
    assert session.compared is None
    assert [role.actor for role in session.usage] == ["student"]


async def test_comparing_can_be_switched_off(tmp_path: Path) -> None:
    session, _ = await played(settings(tmp_path, compare={"enabled": False}), tmp_path, helpful())
    assert (session.compared, session.student_memory.compared) == (None, None)


async def test_a_control_that_fails_is_recorded_and_counts_for_nothing(tmp_path: Path) -> None:
    rules = [rule for rule in RULES if rule["when"] != "Add"]
    session, runtime = await played(settings(tmp_path, rules), tmp_path, helpful())
    assert session.compared is None
    assert any("no control for lesson sixty" in lack.what for lack in session.degraded)
    (entry,) = (await runtime.store.playbook("default", "default", "student")).entries
    assert (entry.evidence.pairs, entry.evidence.n_with, entry.evidence.log_e_help) == (0, 1, 0.0)
    events = await runtime.store.events(session.id)
    assert sum(isinstance(event.body, Degraded) for event in events) == 1


async def test_a_teachers_lesson_is_measured_where_the_teacher_had_a_say(tmp_path: Path) -> None:
    """With the lesson the teacher rejects and guides; without it the wrong answer stands."""
    rules: list[dict[str, object]] = [
        {"when": "You write lessons", "reply": {"entries": []}},
        {"when": "ask for sixty", "reply": {"accepted": False, "guidance": "say sixty"}},
        {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
        {"when": "say sixty", "reply": "The total is 60."},
        {"when": "Add", "reply": "The total is 50."},
    ]
    lesson = helpful("teacher").model_copy(update={"action": "ask for sixty", "cue": Cue(text="add")})
    session, runtime = await played(settings(tmp_path, rules), tmp_path, lesson, lane="paired")
    assert session.answer == "The total is 60."
    assert session.compared == Compared(audience="teacher", entry_id="sixty", shown=True, outcome=0.0)
    (entry,) = (await runtime.store.playbook("default", "default", "teacher")).entries
    assert entry.evidence.pair_gain == 1.0
    alone, _ = await played(settings(tmp_path, rules), tmp_path, lesson, lane="auto")
    assert alone.compared is None


@pytest.mark.parametrize(
    ("tools", "allowed", "may"),
    [
        ([], "none", True),
        (["look"], "none", True),
        (["look", "write"], "none", False),
        (["look", "write"], "idempotent", True),
        (["send"], "idempotent", False),
        (["send"], "external", True),
    ],
)
def test_nobody_acts_in_the_world_twice_to_measure_a_lesson(
    tmp_path: Path, tools: list[str], allowed: str, may: bool
) -> None:
    (tmp_path / "reach_tools.py").write_text(TOOLS)
    config = AtlasConfig.model_validate(
        {
            "agent": {
                "type": "openai",
                "llm": {"provider": "scripted", "model": "s.json"},
                "tools": [f"reach_tools:{name}" for name in tools],
            },
            "learning": {"compare": {"tools": allowed}},
        }
    )
    assert may_repeat(config, tmp_path) is may


def test_an_agent_whose_tools_nobody_sees_is_not_asked_twice(tmp_path: Path) -> None:
    config = AtlasConfig.model_validate({"agent": {"type": "python", "import_path": "a:b"}})
    assert not may_repeat(config, tmp_path)
    server = {"name": "s", "command": ["serve"]}
    agent = {"type": "openai", "llm": {"provider": "scripted", "model": "s.json"}, "tool_servers": [server]}
    assert not may_repeat(AtlasConfig.model_validate({"agent": agent}), tmp_path)
