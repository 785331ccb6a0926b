"""The commands as a user types them: exit codes, one line for an error, nothing overwritten by halves."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_kit import Bases, exported, imported

from atlas.cli.app import run_command
from atlas.cli.arc import arc
from atlas.schema import Session

Filled = tuple[str, dict[str, Session]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for variable in ("ATLAS_REVIEW_REQUIRE_APPROVAL", "ATLAS_REVIEW_DEFAULT_EXPORT_STATUSES"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path
    data = tmp_path / ".atlas" / "pg"
    if data.is_symlink():  # As root the database's data lies outside the project.
        shutil.rmtree(data.resolve())


def ids(file: Path) -> list[str]:
    return [json.loads(line)["session_id"] for line in file.read_text("utf-8").splitlines()]


def test_arc_atlas_exports_what_is_approved(
    filled: Filled, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = ["--database-url", filled[0], "--output", "traces.jsonl"]
    assert run_command(base, arc) == 1
    assert "no session passed the filters" in capsys.readouterr().err
    assert run_command([*base, "--include-status", "pending", "--limit", "2", "--batch-size", "1"], arc) == 0
    assert "Exported 2 sessions to traces.jsonl." in capsys.readouterr().err
    newest = [session.id for session in filled[1].values()][::-1]
    assert ids(here / "traces.jsonl") == newest[:2]
    assert run_command(["export", *base, "--include-all-statuses", "--status", "FAILED", "--quiet"], arc) == 0
    assert capsys.readouterr() == ("", "")
    assert ids(here / "traces.jsonl") == [filled[1]["failed"].id]
    monkeypatch.setenv("ATLAS_REVIEW_REQUIRE_APPROVAL", "0")
    assert run_command([*base, "--session-id", newest[3][:-1], "--trajectory-event-limit", "0"], arc) == 0
    (line,) = (here / "traces.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["trajectory_events"] == []


def test_a_configuration_sets_the_gate(filled: Filled, here: Path) -> None:
    gate = "runtime_safety: {review: {default_export_statuses: [pending]}}\n"
    (here / "gate.yaml").write_text(f"agent: {{type: python, import_path: 'shop:solve'}}\n{gate}")
    options = ["--database-url", filled[0], "--output", "a.jsonl", "--config", "gate.yaml"]
    assert run_command(options, arc) == 0
    assert len(ids(here / "a.jsonl")) == 8


@pytest.mark.parametrize(
    ("options", "code", "cause"),
    [
        (["--output", "a.jsonl"], 2, "Missing option '--database-url'"),
        (["--database-url", "postgresql://nobody@127.0.0.1:9/none"], 2, "Missing option '--output'"),
        (["--database-url", "postgresql://nobody@127.0.0.1:9/none", "--output", "a.jsonl"], 4, "does not serve"),
        (["--database-url", "none", "--output", "a.jsonl"], 4, ""),
        (["--database-url", "URL", "--output", "a.jsonl", "--include-status", "good"], 2, "is not one of"),
        (["--database-url", "URL", "--output", "a.jsonl", "--session-id", "x y"], 2, "no session id"),
        (["--database-url", "URL", "--output", "missing/../a.zst"], 2, "zstandard"),
        (["--database-url", "URL", "--output", "a.jsonl", "--format", "gkd", "--resume"], 2, "--resume cannot"),
        (["--database-url", "URL", "--output", "a.jsonl", "--min-reward", "nan"], 2, "min_reward"),
        (["--database-url", "URL", "--output", "a.jsonl", "--config", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    filled: Filled,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    cause: str,
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert run_command([filled[0] if option == "URL" else option for option in options], arc) == code
    told = capsys.readouterr().err
    assert cause in told
    assert "Traceback" not in told


def test_what_a_reviewer_approves_is_exported(
    filled: Filled, bases: Bases, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(exported(filled[0], here / "a.jsonl"))
    url = asyncio.run(bases.new())
    asyncio.run(imported(url, here / "a.jsonl", here))
    at = ["--database-url", url]
    good, bad = filled[1]["coach"].id, filled[1]["auto"].id
    assert run_command(["review", "approve", good, *at, "--note", "checked"], arc) == 0
    assert run_command(["review", "quarantine", bad, *at], arc) == 0
    assert run_command([*at, "--output", "b.jsonl"], arc) == 0
    (line,) = (here / "b.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["session_id"] == good
    assert (json.loads(line)["review_status"], json.loads(line)["review_notes"]) == ("approved", "checked")


def test_atlas_import_and_export_use_the_projects_own_database(
    filled: Filled, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["--database-url", filled[0], "--output", "a.jsonl.gz", "--include-all-statuses"], arc) == 0
    assert run_command(["import", "a.jsonl.gz"]) == 0
    assert "8 lines: 8 stored, 0 refused." in capsys.readouterr().err
    assert run_command(["export", "--output", "b.jsonl.gz", "--include-status", "pending"]) == 0
    assert (here / "b.jsonl.gz").read_bytes() == (here / "a.jsonl.gz").read_bytes()
    (here / "c.jsonl").write_text("nonsense\n" * 25)
    assert run_command(["import", "c.jsonl"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "25 lines: 0 stored, 25 refused."
    assert told[1].startswith("atlas: line 1 is refused: it is no JSON")
    assert len(told) == 23


def test_without_a_database_there_is_nothing_to_export(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", "--output", "a.jsonl"]) == 2
    assert "There is no database in" in capsys.readouterr().err
    (here / "atlas.yaml").write_text("agent: {type: python, import_path: 'shop:solve'}\nstorage: null\n")
    assert run_command(["export", "--output", "a.jsonl"]) == 2
    assert "nothing is kept" in capsys.readouterr().err
    assert run_command(["import", "a.jsonl"]) == 2


def test_the_schema_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Atlas session record"
