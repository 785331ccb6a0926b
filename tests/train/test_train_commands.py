"""Invariant 8: every documented command of training runs two steps on a tiny model on CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from train_kit import Traces, write_loop

from atlas.cli.app import run_command
from atlas.train import read_manifest

pytest.importorskip("torch", reason="torch is not installed: training is not tested")

LOOP = ("--set", "loop=atlas.yaml", "--set", "questions=2", "--set", "group=2", "--set", "max_new_tokens=24")
ROOT = Path(__file__).parents[2]
TWO = ("--set", "steps=2", "--set", "batch_size=2", "--set", "threads=1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_loop(tmp_path)
    os.rename(tmp_path / "loop.yaml", tmp_path / "atlas.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("sft", "--set", "role=teacher", "--set", "model=pocket-teacher"),
        ("sft", "--set", "pack=true", "--set", "lora={rank: 2}"),
        ("gkd", "--set", "teacher_sees=guidance", "--set", "lambda=0.5"),
        ("gkd", "--set", "role=teacher", "--set", "model=pocket-teacher", "--set", "teacher=pocket-student"),
        (
            "grpo",
            "--set",
            "role=teacher",
            "--set",
            "model=pocket-teacher",
            "--set",
            "loop=atlas.yaml",
            "--set",
            "group=2",
        ),
        ("grpo", "--set", "loop=atlas.yaml", "--set", "variant=dr_grpo", "--set", "questions=2", "--set", "group=2"),
    ],
)
def test_a_method_runs_and_is_served(here: Path, desk_traces: Traces, words: tuple[str, ...]) -> None:
    command = ["train", *words, "--from", str(desk_traces.file), *TWO, "--output", "run", "--quiet"]
    assert run_command(command) == 0
    told = read_manifest(here / "run")
    assert told is not None
    assert (told.status, told.method) == ("succeeded", words[0])
    config = {"agent": {"type": "openai", "llm": {"provider": "local", "model": "run/final"}}, "storage": None}
    (here / "use.yaml").write_text(json.dumps(config))
    assert run_command(["run", "--task", "hello", "--config", "use.yaml", "--lane", "auto"]) == 0


def test_a_dry_run_tells_and_trains_nothing(
    here: Path, desk_traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", "sft", "--from", str(desk_traces.file), "--dry-run", "--output", "run"]) == 0
    said = capsys.readouterr().out
    assert '"steps": 100' in said
    assert "learnt" in said
    assert not (here / "run").exists()


def test_the_words_of_the_contract_start_a_run(
    here: Path, desk_traces: Traces, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text("batch_size: 2\nthreads: 1\n")
    (here / "data.yaml").write_text("deduplicate: false\n")
    words = ["train", "--database-url", str(desk_traces.file), "--config-name", "mine", "--data-config", "data.yaml"]
    words += ["--eval-ratio", "0.25", "--max-samples", "9", "--min-reward", "0.5", "--override", "steps=2"]
    assert run_command([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert '"eval_ratio": 0.25' in said
    assert '"deduplicate": false' in said
    assert "train       9 examples" in said
    assert run_command([*words, "--output-dir", "run"]) == 0
    assert (here / "run" / "final" / "model.safetensors").is_file()
    assert run_command([*words, "--output-dir", "other", "--wandb-project", "p"]) == 2
    assert "wandb" in capsys.readouterr().err


def test_inspect_and_eval_tell_numbers(here: Path, desk_traces: Traces, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["train", "inspect", "--from", str(desk_traces.file), "--tokens", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["train"] > 0
    more = ["--from", str(desk_traces.file), "--set", "model=pocket-teacher", "--role", "teacher", "--json"]
    assert run_command(["train", "eval", "pocket-teacher", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["before"] == told["after"]
    assert run_command(["train", "eval", "pocket-student", *more, "--loop", "atlas.yaml", "--lane", "paired"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sft", "--from", "missing.jsonl"], "missing.jsonl"),
        (["sft", "--set", "stepz=1"], "did you mean 'steps'"),
        (["gkd", "--config", "no.yaml"], "no.yaml cannot be read"),
        (["sft", "--from", "TRACES", "--set", "data.learning_key=nobody"], "No session in"),
        (["sft", "--from", "TRACES", "--set", "model=missing"], "no checkpoint in missing"),
        (["sft", "--from", "TRACES", "--set", "tracker=tensorboard", "--output", "t"], "tensorboard"),
        (["sft", "--from", "TRACES", "--set", "max_tokens=8", "--output", "m"], "longer than 8 tokens"),
    ],
)
def test_a_mistake_is_one_clear_line(
    here: Path, desk_traces: Traces, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    given = [str(desk_traces.file) if word == "TRACES" else word for word in words]
    assert run_command(["train", *given]) in (1, 2)
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_the_offline_pipeline_goes_from_a_file_to_a_checkpoint(here: Path, desk_traces: Traces) -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "run_offline_pipeline.py"),
        "--export-path",
        str(desk_traces.file),
    ]
    command += ["--output-dir", "out", "--methods", "sft,gkd", "--steps", "2", "--set", "threads=1", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "held-out cross-entropy per token" in done.stdout
    assert (here / "out" / "gkd" / "final" / "model.safetensors").is_file()
