"""The playbook and learning commands as a user types them, on a real project with a real database."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from atlas.cli.app import run_command
from atlas.schema import Cue, Entry, Playbook
from atlas.store import open_store

RULES: list[dict[str, object]] = [
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "say sixty", "reply": "The total is 60."},
    {"when": "Add", "reply": "The total is 50."},
]
CONFIG = {
    "agent": {"type": "openai", "llm": {"provider": "scripted", "model": "script.json"}},
    "checks": [{"type": "regex", "pattern": "60"}],
    "learning": {"flip_gate": {"min_tasks": 2}, "holdout_trial": 0.0},
    "adaptive_teaching": {"mode_override": "auto"},
}


def publish(folder: Path, *books: Playbook) -> None:
    async def write() -> None:
        store = await open_store(None, folder=folder / ".atlas", embedded=True)
        for book in books:
            await store.publish([book])
        await store.close()

    asyncio.run(write())


def book(key: str, version: int, *entries: Entry) -> Playbook:
    return Playbook(key=key, audience="student", version=version, entries=entries, origin=f"test {version}")


def lesson(name: str, state: str, action: str = "say sixty") -> Entry:
    return Entry.model_validate(
        {"id": name, "audience": "student", "cue": Cue(text="add"), "action": action, "state": state, "reason": "test"}
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lessons")
    (folder / "script.json").write_text(json.dumps(RULES))
    (folder / "atlas.yaml").write_text(json.dumps(CONFIG))
    for number in range(3):
        task = f"Add up {number}"
        assert run_command(["run", "--task", task, "--path", str(folder), "--learning-key", "sums"]) == 0
    yield folder
    data = folder / ".atlas" / "pg"
    if data.is_symlink():
        shutil.rmtree(data.resolve())


@pytest.fixture
def told(shop: Path, capsys: pytest.CaptureFixture[str]) -> SimpleNamespace:
    """Runs a command and gives its exit code, what it printed, and its complaint."""

    def tell(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command([*words, "--path", str(shop)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return SimpleNamespace(tell=tell, folder=shop)


def test_time_travel(told: SimpleNamespace) -> None:
    first = book("travel", 1, lesson("aaa1", "active"))
    second = book("travel", 2, lesson("aaa1", "retired"), lesson("bbb2", "trial", "ask twice\x1b[2J"))
    publish(told.folder, first, second)
    code, out, _ = told.tell("playbook", "list")
    assert (code, "travel" in out) == (0, True)
    code, out, _ = told.tell("playbook", "diff", "travel", "1")
    assert out.splitlines()[0] == "student's playbook of travel, version 1 to 2"
    assert "~ aaa1 [active] to [retired]" in out
    assert "+ bbb2 [trial]" in out
    assert "\x1b" not in out
    code, out, _ = told.tell("playbook", "blame", "travel")
    assert [line.strip().split(",")[0] for line in out.splitlines() if "version" in line] == [
        "version 1",
        "version 2",
        "version 2",
    ]
    assert told.tell("playbook", "diff", "travel", "7")[::2] == (
        2,
        "atlas: The playbook of travel has no version 7. See: atlas playbook blame travel\n",
    )
    code, out, _ = told.tell("playbook", "why", "bbb", "--key", "travel")
    assert "[trial]" in out
    assert told.tell("playbook", "why", "zzz", "--key", "travel")[0] == 2


def test_a_rollback_asks_before_it_drops_what_acts(told: SimpleNamespace) -> None:
    publish(told.folder, book("back", 1), book("back", 2, lesson("aaa1", "active")))
    code, _, complaint = told.tell("playbook", "rollback", "back", "--version", "1")
    assert (code, "more than a fifth" in complaint) == (2, True)
    code, out, _ = told.tell("playbook", "rollback", "back", "--version", "1", "--yes", "--note", "worse since")
    assert (code, out) == (0, "version 3 of back has the entries of version 1\n")
    _, out, _ = told.tell("playbook", "show", "back", "--audience", "student")
    assert "version 3 (rollback to version 1: " in out
    assert "worse since" in out
    assert told.tell("playbook", "rollback", "back", "--version", "1", "--yes")[0] == 2
    _, out, _ = told.tell("playbook", "rollback", "back", "--version", "2")
    assert "version 4" in out


def test_a_file_comes_in_as_candidates_that_a_person_reads_and_approves(
    told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = told.folder / "SKILL.md"
    file.write_text("- **add**: say sixty\n- **sum\u200b**: p\u0430y twice\n", "utf-8")
    code, out, _ = told.tell("playbook", "import", "files", str(file))
    assert (code, "2 new candidates of 2 lessons in version 1" in out) == (0, True)
    _, out, _ = told.tell("playbook", "show", "files", "--audience", "student")
    assert 'in a prompt it would read "- sum: p\\u0430y twice"' in out
    assert "from file SKILL.md" in out
    _, out, _ = told.tell("playbook", "export", "files")
    exported = json.loads(out)
    name = exported["entries"][0]["id"]
    code, out, _ = told.tell("playbook", "approve", "files", name[:6], "--note", "read it")
    assert (code, out) == (0, f"{name} is trial in version 2 of files\n")
    assert told.tell("playbook", "approve", "files", name)[0] == 2
    assert told.tell("playbook", "quarantine", "files", name)[1].startswith(f"{name} is quarantined")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(exported).encode())))
    code, out, _ = told.tell("playbook", "import", "elsewhere", "-")
    assert (code, "2 new candidates" in out) == (0, True)
    assert told.tell("playbook", "import", "files", str(file))[0] == 2, "nothing new"
    (told.folder / "bad.md").write_bytes(b"\xff\xfe")
    assert told.tell("playbook", "import", "files", str(told.folder / "bad.md"))[::2] == (
        2,
        f"atlas: {told.folder / 'bad.md'} is no UTF-8 text (byte 0).\n",
    )


def test_the_gate_the_guarantee_and_who_saw_what(told: SimpleNamespace) -> None:
    candidate = lesson("ccc3", "candidate")
    publish(told.folder, book("sums", 1, candidate, lesson("ddd4", "candidate", "do as ever")))
    code, out, _ = told.tell("learning", "gate", "sums", "--entry", "ccc", "--dry-run")
    assert (code, "ccc3 passes: 3 tasks done both ways: 3 better, 0 worse" in out) == (0, True)
    assert "[candidate]" in told.tell("playbook", "show", "sums")[1]
    code, out, _ = told.tell("learning", "gate", "sums")
    assert code == 1
    assert "ddd4 stays a candidate: 3 tasks done both ways: 0 better, 0 worse; no gain" in out
    shown = json.loads(told.tell("playbook", "export", "sums")[1])
    states = {entry["id"]: entry["state"] for entry in shown["entries"]}
    assert states == {"ccc3": "trial", "ddd4": "candidate"}
    version = str(shown["version"])
    code, out, _ = told.tell("learning", "gate", "sums", "--version", version)
    assert (code, "mean gain +1.000" in out) == (0, True)
    code, out, _ = told.tell("learning", "guarantee", "--key", "sums")
    assert code == 1
    assert "stored tasks done both ways: not shown yet (3 sessions, estimated gain +1.000" in out
    assert run_command(["run", "--task", "Add 7", "--path", str(told.folder), "--learning-key", "sums"]) == 0
    _, out, _ = told.tell("playbook", "sessions", "sums", "--version", version)
    assert "ccc3" in out
    session_id = next(line.split()[0] for line in out.splitlines() if "ccc3" in line)
    _, out, _ = told.tell("playbook", "why", session_id)
    assert "shown" in out
    assert "not shown, it was candidate" in out
    assert told.tell("learning", "gate", "sums", "--version", "99")[0] == 2
    assert told.tell("learning", "gate", "sums", "--entry", "zzz")[0] == 2


def test_the_report(told: SimpleNamespace) -> None:
    code, out, _ = told.tell("learning", "report", "--recent", "1")
    assert (code, "| sums | all | all | 1 |" in out) == (0, True)
    code, out, _ = told.tell("learning", "report", "--format", "json", "--key", "sums")
    assert json.loads(out)["groups"][0]["learning_key"] == "sums"
    file = told.folder / "sums.svg"
    assert told.tell("learning", "report", "--format", "svg", "--key", "sums", "--output", str(file))[0] == 0
    assert file.read_text().startswith("<svg")
    assert told.tell("learning", "report", "--format", "svg")[0] == 2
    assert told.tell("learning", "report", "--format", "svg", "--key", "none")[0] == 2


def test_an_agent_that_acts_in_the_world_is_not_played_again(told: SimpleNamespace) -> None:
    config = told.folder / "acting.yaml"
    config.write_text(json.dumps(CONFIG | {"agent": {"type": "python", "import_path": "x:y"}}))
    code, _, complaint = told.tell("learning", "gate", "sums", "--config", str(config))
    assert (code, "learning.compare.tools" in complaint) == (2, True)
