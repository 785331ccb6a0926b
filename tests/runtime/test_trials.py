"""Stored tasks done again, with and without: the flip gate, versions, and nobody served by them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from atlas.config import AtlasConfig
from atlas.evaluate import guarantees
from atlas.runtime import Runtime, open_runtime, suite, try_entry, try_version
from atlas.schema import Cue, Entry, EntryState, Playbook, Task

RULES: list[dict[str, object]] = [
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "say nothing", "reply": "No."},
    {"when": "say sixty", "reply": "The total is 60."},
    {"when": "hard", "reply": "The total is 50."},
    {"when": "easy", "reply": "The total is 60."},
]


def lesson(action: str, *, state: EntryState = "candidate", cue: str = "add") -> Entry:
    return Entry(id=action.replace(" ", "-"), audience="student", cue=Cue(text=cue), action=action, state=state)


def book(*entries: Entry, version: int = 1) -> Playbook:
    return Playbook(key="default", audience="student", version=version, entries=entries)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    (tmp_path / "script.json").write_text(json.dumps(RULES))
    config: dict[str, Any] = {
        "agent": {"type": "openai", "llm": {"provider": "scripted", "model": "script.json"}},
        "checks": [{"type": "regex", "pattern": "60"}],
        "storage": None,
    }
    async with await open_runtime(AtlasConfig.model_validate(config), folder=tmp_path) as opened:
        for number in range(4):
            for kind in ("hard", "easy"):
                task = Task(prompt=f"Add {kind} sum {number}.")
                await (await opened.start(task, lane="auto")).settled()
        await (await opened.start(Task(prompt="Something else, easy."), lane="auto")).settled()
        yield opened


async def test_the_suite_has_each_task_once_and_only_those_that_match(runtime: Runtime) -> None:
    await (await runtime.start(Task(prompt="Add hard sum 0."), lane="auto")).settled()
    assert len(await suite(runtime.store, "default", "default", limit=50)) == 9
    matching = await suite(runtime.store, "default", "default", limit=50, entry=lesson("say sixty"))
    assert len({session.task.prompt for session in matching}) == len(matching) == 8
    assert len(await suite(runtime.store, "default", "default", limit=3)) == 3
    assert await suite(runtime.store, "other", "default", limit=3) == []


async def test_a_candidate_that_helps_passes_and_its_evidence_is_kept(runtime: Runtime) -> None:
    good = lesson("say sixty")
    await runtime.store.publish([book(good)])
    sessions = await suite(runtime.store, "default", "default", limit=50, entry=good)
    trials = await try_entry(runtime, book(good), good, sessions)
    assert (len(trials.trials), trials.better, trials.worse, trials.gain) == (8, 4, 0, 0.5)
    passed, why = trials.verdict(min_tasks=5, max_worse=0)
    assert passed
    assert why == "8 tasks done both ways: 4 better, 0 worse"
    (entry,) = (await runtime.store.playbook("default", "default", "student")).entries
    assert (entry.state, entry.evidence.pairs, entry.evidence.pair_gain) == ("candidate", 8, 4.0)


async def test_a_candidate_that_flips_a_success_does_not_pass(runtime: Runtime) -> None:
    bad = lesson("say nothing", cue="easy")
    await runtime.store.publish([book(bad)])
    sessions = await suite(runtime.store, "default", "default", limit=50, entry=bad)
    trials = await try_entry(runtime, book(bad), bad, sessions)
    assert (trials.better, trials.worse) == (0, 5)
    assert trials.verdict(min_tasks=5, max_worse=0) == (
        False,
        "5 tasks done both ways: 0 better, 5 worse; at most 0 may become worse",
    )
    assert trials.verdict(min_tasks=9, max_worse=0)[1].endswith("9 tasks are needed")


async def test_a_lesson_that_changes_nothing_does_not_pass(runtime: Runtime) -> None:
    idle = lesson("do as ever")
    await runtime.store.publish([book(idle)])
    sessions = await suite(runtime.store, "default", "default", limit=50, entry=idle)
    trials = await try_entry(runtime, book(idle), idle, sessions)
    assert trials.verdict(min_tasks=5, max_worse=0)[1].endswith("no gain")


async def test_replays_are_told_as_such_and_are_no_suite(runtime: Runtime) -> None:
    good = lesson("say sixty")
    await runtime.store.publish([book(good)])
    sessions = await suite(runtime.store, "default", "default", limit=50, entry=good)
    trials = await try_entry(runtime, book(good), good, sessions)
    assert {trial.replay_of for trial in trials.trials} == {session.id for session in sessions}
    again = await suite(runtime.store, "default", "default", limit=50, entry=good)
    assert [session.id for session in again] == [session.id for session in sessions]
    outcomes = (await runtime.store.background("default", "default", limit=99)).outcomes
    assert len(outcomes) == 9


async def test_versions_are_compared_and_speak_for_the_guarantee(runtime: Runtime) -> None:
    good = lesson("say sixty", state="active")
    await runtime.store.publish([book(good), book(good, lesson("say nothing", state="trial", cue="easy"), version=2)])
    sessions = await suite(runtime.store, "default", "default", limit=50)
    first = await try_version(runtime, book(good), 0, sessions)
    assert (first.better, first.worse, first.gain) == (4, 0, pytest.approx(4 / 9))
    newest = await runtime.store.playbook("default", "default", "student")
    assert newest.version == 2, "comparing versions writes none"
    second = await try_version(runtime, newest, 1, sessions)
    assert (second.better, second.worse) == (0, 5)
    rows = [row async for row in runtime.store.ledger("default", "default")]
    told = guarantees(rows, "default", delta=0.05)
    assert told.replayed.sessions == 9, "only what was held against no lessons at all speaks for it"
    assert told.replayed.estimate == pytest.approx(4 / 9)
    assert told.online.sessions == 9
    assert not told.holds


async def test_a_task_whose_agent_fails_counts_for_nothing(runtime: Runtime) -> None:
    lost = lesson("hang up", cue="else")
    await runtime.store.publish([book(lost)])
    await (await runtime.start(Task(prompt="Else: hang up, easy."), lane="auto")).settled()
    sessions = await suite(runtime.store, "default", "default", limit=50, entry=lost)
    broken = [session.model_copy(update={"task": Task(prompt="nobody answers this else")}) for session in sessions]
    trials = await try_entry(runtime, book(lost), lost, broken)
    assert (trials.trials, trials.failed, trials.gain) == ((), 2, None)
