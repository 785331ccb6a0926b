"""A checkpoint enters as canary, is compared on tasks it did not see, serves on evidence alone, and leaves again."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from export_kit import Bases, execute
from train_kit import Traces, write_loop

from atlas.cli.app import run_command
from atlas.config import load_config
from atlas.config.llm import LLMConfig
from atlas.deploy import Trial, enter, promote, roll_back, try_out, verdict_of
from atlas.memory import MemoryRules
from atlas.models.local import open_local
from atlas.schema import Evidence, Task
from atlas.schema.errors import ConfigError, StaleVersion, StoreError, TrainError
from atlas.store.ledger import open_ledger
from atlas.train import DataConfig, Order, checkpoint_folder, load_train_config, read_examples, train
from atlas.train.evaluation import Played, compare, comparison_table, seated

STUDENT, TEACHER = checkpoint_folder("pocket-student"), checkpoint_folder("pocket-teacher")
RULES = MemoryRules()


async def tasks_of(traces: Traces) -> list[Task]:
    read = await read_examples(traces.file, DataConfig(), role="student", take="imitate")
    return list(read.tasks.values())


async def trial(traces: Traces, folder: Path, teacher: str) -> Trial:
    write_loop(folder)
    config = seated(load_config(folder / "loop.yaml"), "teacher", teacher)
    return Trial(config, folder, await tasks_of(traces), "paired")


async def test_one_that_helps_serves_and_can_be_taken_out(bases: Bases, desk_traces: Traces, tmp_path: Path) -> None:
    """The serving teacher cannot review at all; the canary can."""
    url, state = await bases.new(), tmp_path / ".atlas"
    async with open_ledger(url) as ledger:
        policy = await enter(ledger, state, TEACHER, role="teacher", source="pocket-teacher")
        assert policy.state == "canary"
        with pytest.raises(ConfigError, match="may not serve: undecided"):
            await promote(ledger, state, policy, rules=RULES)
        tried = await try_out(ledger, policy, await trial(desk_traces, tmp_path, "pocket-student"), rules=RULES)
        assert tried.verdict == "helps"
        assert tried.comparison is not None
        assert tried.comparison.gain.mean > 0.2
        assert tried.policy.evidence.pairs == tried.comparison.n < len(await tasks_of(desk_traces))
        active = await promote(ledger, state, tried.policy, rules=RULES)
        assert active.state == "active"
        served = open_local(LLMConfig(provider="local", model=".atlas/policies/teacher"), tmp_path)
        assert served.name == f"local:.atlas/policies/teacher@{policy.sha256[:12]}"
        await served.close()
        again = await enter(ledger, state, TEACHER, role="teacher", source="pocket-teacher")
        assert again == active
        with pytest.raises(ConfigError, match="before this one"):
            await roll_back(ledger, state, "teacher", base=None)
        assert await roll_back(ledger, state, "teacher", base=STUDENT, note="test") is None
        (out,) = await ledger.policies("teacher")
        assert (out.state, out.reason) == ("rolled_back", "rolled back: test")
        with pytest.raises(ConfigError, match="No policy serves"):
            await roll_back(ledger, state, "teacher", base=STUDENT)


async def test_one_that_harms_is_rolled_back_at_once(bases: Bases, desk_traces: Traces, tmp_path: Path) -> None:
    url, state = await bases.new(), tmp_path / ".atlas"
    async with open_ledger(url) as ledger:
        policy = await enter(ledger, state, STUDENT, role="teacher", source="pocket-student")
        tried = await try_out(ledger, policy, await trial(desk_traces, tmp_path, "pocket-teacher"), rules=RULES)
        assert (tried.verdict, tried.policy.state) == ("harms", "rolled_back")
        with pytest.raises(ConfigError, match="harms"):
            await promote(ledger, state, tried.policy, rules=RULES)
    assert not (state / "policies" / "teacher").exists()


async def test_the_same_model_neither_helps_nor_harms(bases: Bases, desk_traces: Traces, tmp_path: Path) -> None:
    async with open_ledger(await bases.new()) as ledger:
        policy = await enter(ledger, tmp_path / ".atlas", TEACHER, role="teacher", source="x")
        tried = await try_out(ledger, policy, await trial(desk_traces, tmp_path, "pocket-teacher"), rules=RULES)
        assert (tried.verdict, tried.policy.state) == ("undecided", "canary")
        assert tried.comparison is not None
        assert abs(tried.comparison.gain.mean) < 0.15  # The marks of a fence differ by session, and so may a word.


async def test_the_one_before_serves_again_and_two_cannot_serve(bases: Bases, tmp_path: Path) -> None:
    state = tmp_path / ".atlas"
    async with open_ledger(await bases.new()) as ledger:
        first = await enter(ledger, state, TEACHER, role="teacher", source="a")
        second = await enter(ledger, state, STUDENT, role="teacher", source="b")
        await promote(ledger, state, first, rules=RULES, note="by hand")
        await promote(ledger, state, second, rules=RULES, note="by hand")
        assert {one.source: one.state for one in await ledger.policies()} == {"a": "retired", "b": "active"}
        assert (state / "policies" / "teacher").resolve().name == second.sha256[:12]
        with pytest.raises(StaleVersion):
            await ledger.put_policies([first.model_copy(update={"state": "active"})])
        now = await roll_back(ledger, state, "teacher", base=None)
        assert now is not None
        assert (now.id, now.state) == (first.id, "active")
        assert (state / "policies" / "teacher").resolve().name == first.sha256[:12]


def test_a_verdict_needs_the_bars_of_an_entry() -> None:
    assert verdict_of(Evidence(log_e_help=2.9), RULES) == "undecided"
    assert verdict_of(Evidence(log_e_help=3.1), RULES) == "helps"
    assert verdict_of(Evidence(log_e_help=3.1, log_e_harm=3.1), RULES) == "harms"


async def test_broken_folders_and_full_disks_leave_nothing_behind(
    bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / ".atlas"
    async with open_ledger(await bases.new()) as ledger:
        with pytest.raises(TrainError, match=r"no readable model\.safetensors"):
            await enter(ledger, state, tmp_path, role="teacher", source="x")

        def full(*given: object, **named: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("shutil.copytree", full)
        with pytest.raises(StoreError, match="No space left"):
            await enter(ledger, state, TEACHER, role="teacher", source="x")
        assert await ledger.policies() == []
        assert not list(state.rglob("*.part"))


def test_a_comparison_leaves_out_what_an_outage_hit() -> None:
    before = [Played(value=0.0, tokens=10), Played(value=1.0, tokens=10), Played(value=None), Played(value=1.0)]
    after = [Played(value=1.0, tokens=20), Played(value=1.0, tokens=20), Played(value=1.0), Played(value=None)]
    told = compare(before, after)
    assert (told.n, told.masked, told.better, told.worse) == (2, 2, 1, 0)
    assert told.tokens == (10, 20)
    assert "| left out: no verdict in one of the arms | 2 | |" in comparison_table(told)
    with pytest.raises(ConfigError, match="No task"):
        compare([Played(value=None)], [Played(value=1.0)])


async def test_a_run_is_recorded_with_the_sessions_it_learnt_from(
    bases: Bases, desk_traces: Traces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: training is not tested")
    url = await bases.new()
    small = ("role=teacher", "model=pocket-teacher", "steps=2", "batch_size=2", "threads=1")
    config = load_train_config("sft", None, small)
    told = await train(Order(config, str(desk_traces.file), tmp_path / "run", ledger=url))
    async with open_ledger(url) as ledger:
        (found,) = await ledger.runs()
        assert (found["id"], found["status"], found["examples"]) == (told.id, "succeeded", told.examples)
        assert sorted(await ledger.sessions_of(told.id)) == sorted(told.sessions)
        policy = await enter(ledger, tmp_path / ".atlas", tmp_path / "run" / "final", role="teacher", source="run")
        assert policy.run == told.id
    assert await asyncio.to_thread(run_command, ["train", "list", "--from", url]) == 0
    assert told.id in capsys.readouterr().out
    bad = load_train_config("sft", None, (*small, "model=nowhere"))
    with pytest.raises(ConfigError):
        await train(Order(bad, str(desk_traces.file), tmp_path / "bad", ledger=url))
    rows = await execute(url, "SELECT status, failure FROM training_runs ORDER BY started_at")
    assert [row["status"] for row in rows] == ["succeeded"]


def test_the_commands_on_a_project(
    desk_traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """canary, status, promote and rollback, as a person types them."""
    write_loop(tmp_path, storage={"database_url": desk_traces.url})
    os.rename(tmp_path / "loop.yaml", tmp_path / "atlas.yaml")
    monkeypatch.chdir(tmp_path)
    assert run_command(["deploy", "canary", "pocket-teacher", "--tasks", "4", "--lane", "paired", "--json"]) == 0
    tried = json.loads(capsys.readouterr().out)
    assert (tried["verdict"], tried["comparison"]["n"]) == ("undecided", 4)
    short = tried["policy"]["id"]
    assert run_command(["deploy", "promote", short]) == 2
    assert "may not serve" in capsys.readouterr().err
    assert run_command(["deploy", "promote", short, "--note", "seen by hand"]) == 0
    assert "model: .atlas/policies/teacher" in capsys.readouterr().out
    assert run_command(["deploy", "status"]) == 0
    assert "active" in capsys.readouterr().out
    assert run_command(["deploy", "rollback", "--base", "pocket-teacher"]) == 0
    assert "the base checkpoint serves as teacher" in capsys.readouterr().out
    assert run_command(["deploy", "canary", "nowhere"]) == 2
    assert "no checkpoint" in capsys.readouterr().err
