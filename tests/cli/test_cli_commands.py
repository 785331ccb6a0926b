"""The commands as a user types them: real projects, a real database, real exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.cli.app import COMMANDS, LazyGroup, atlas, run_command

AGENT = """\
import os, time, pathlib

HERE = pathlib.Path(__file__).parent

def solve(prompt):
    if "raise" in prompt:
        raise RuntimeError("the shop is closed")
    while "wait" in prompt and not (HERE / "go").exists():
        (HERE / "waiting").touch()
        time.sleep(0.02)
    return f"{os.environ.get('SHOP', 'shop')} did: {prompt}"
"""
STORED = "agent: {type: python, import_path: 'shop_agent:solve'}\nchecks: [{type: regex, pattern: did}]\n"
UNSTORED = STORED + "storage: null\n"
DEAD_MODEL = """\
agent: {type: openai, llm: {provider: vllm, model: m, api_base: 'http://127.0.0.1:9', retry: {attempts: 1}}}
storage: null
"""
DEAD_STORE = STORED + "storage: {database_url: 'postgresql://nobody@127.0.0.1:9/none'}\n"


def write_project(folder: Path, config: str) -> Path:
    (folder / "shop_agent.py").write_text(AGENT)
    (folder / "atlas.yaml").write_text(config)
    return folder


def remove_data(folder: Path) -> None:
    """As root the database's data lies outside the project, behind a link."""
    data = folder / ".atlas" / "pg"
    if data.is_symlink():
        shutil.rmtree(data.resolve())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One project with a database, shared by the tests of this file."""
    folder = write_project(tmp_path_factory.mktemp("shop"), STORED)
    yield folder
    remove_data(folder)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A project that keeps nothing."""
    return write_project(tmp_path, UNSTORED)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """What was printed."""
    return capsys


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "atlas", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_every_command_has_help(out: pytest.CaptureFixture[str]) -> None:
    assert isinstance(atlas, LazyGroup)
    for name in COMMANDS:
        assert run_command([name, "--help"]) == 0
        assert "Usage: atlas" in out.readouterr().out


def test_help_names_the_exit_codes(out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    shown = out.readouterr().out
    assert "130  interrupted" in shown
    assert all(name in shown for name in COMMANDS)


def test_a_run_gives_its_answer_and_is_kept(shop: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--task", "find order 7", "--path", str(shop), "--learning-key", "orders"]) == 0
    said = out.readouterr()
    assert said.out == "shop did: find order 7\n"
    assert "succeeded, auto, unreviewed, reward 1.00" in said.err
    session_id = said.err.split("session ")[1].split()[0]
    assert run_command(["session", "list", "--path", str(shop), "--learning-key", "orders", "--json"]) == 0
    rows = [json.loads(line) for line in out.readouterr().out.splitlines()]
    assert [(row["id"], row["status"], row["reward"]) for row in rows] == [(session_id, "succeeded", 1.0)]
    assert run_command(["session", "show", session_id, "--path", str(shop)]) == 0
    shown = out.readouterr().out
    assert "answer    (unreviewed) shop did: find order 7" in shown
    assert "verdict   check:regex 1.00" in shown
    assert run_command(["session", "show", session_id, "--path", str(shop), "--events", "--json"]) == 0
    events = [json.loads(line) for line in out.readouterr().out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_json_is_one_object_after_its_events(bare: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--task", "x", "--path", str(bare), "--json", "--stream"]) == 0
    lines = [json.loads(line) for line in out.readouterr().out.splitlines()]
    assert lines[0]["body"]["type"] == "session_started"
    assert lines[-1]["final_answer"] == "shop did: x"
    assert lines[-1]["reward"]["value"] == 1.0


def test_a_task_of_any_bytes(bare: Path) -> None:
    command = f"printf 'a\\0b\\377' | {sys.executable} -m atlas run --task - --json"
    shown = subprocess.run(["bash", "-c", command], cwd=bare, capture_output=True, text=True, check=False)
    assert json.loads(shown.stdout)["final_answer"] == "shop did: a\0b\ufffd"
    one = [sys.executable, "-m", "atlas", "run", "--json", "--task", b"x\xff"]
    done = subprocess.run(one, cwd=bare, capture_output=True, check=False)
    assert json.loads(done.stdout)["final_answer"] == "shop did: x\ufffd"


def test_plain_lines_tell_what_happens(bare: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--task", "x", "--path", str(bare), "--stream"]) == 0
    said = out.readouterr()
    assert said.out == "shop did: x\n"
    assert "routed auto" in said.err
    assert "finished succeeded" in said.err


def test_the_environment_of_a_run(bare: Path) -> None:
    (bare / ".env").write_text("SHOP=dotenv\n")
    flagged = start(bare, "run", "--task", "x", "--env", "SHOP=flag")
    assert flagged.communicate(timeout=20)[0] == "flag did: x\n"
    plain = start(bare, "run", "--task", "x")
    assert plain.communicate(timeout=20)[0] == "dotenv did: x\n"


@pytest.mark.parametrize(
    ("config", "task", "code", "words"),
    [
        (UNSTORED, "raise", 1, "the shop is closed"),
        (UNSTORED + "lerning: {}\n", "x", 2, "unknown key 'lerning' (did you mean 'learning'?)"),
        (UNSTORED.replace("shop_agent", "no_such_module"), "x", 2, "no_such_module"),
        (UNSTORED, "  ", 2, "the task is empty"),
        (DEAD_MODEL, "x", 3, "127.0.0.1"),
        (DEAD_STORE, "x", 4, "127.0.0.1"),
    ],
)
def test_a_failure_is_a_line_and_an_exit_code(
    tmp_path: Path, out: pytest.CaptureFixture[str], config: str, task: str, code: int, words: str
) -> None:
    write_project(tmp_path, config)
    assert run_command(["run", "--task", task, "--path", str(tmp_path)]) == code
    said = out.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err
    if code != 2:
        assert said.err.startswith("atlas: ")


def test_a_failure_as_json(bare: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--task", "raise", "--path", str(bare), "--json"]) == 1
    told = json.loads(out.readouterr().out)
    assert (told["status"], told["failure"]["boundary"]) == ("failed", "agent")


def test_debug_shows_the_traceback(bare: Path, out: pytest.CaptureFixture[str]) -> None:
    (bare / "atlas.yaml").write_text("[]")
    assert run_command(["--debug", "config", "check", str(bare / "atlas.yaml")]) == 2
    assert "Traceback" in out.readouterr().err


def test_a_configuration_is_checked(bare: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["config", "check", str(bare / "atlas.yaml")]) == 0
    assert out.readouterr().out.endswith("atlas.yaml: ok\n")
    assert run_command(["config", "check", str(bare / "atlas.yaml"), "--show"]) == 0
    assert json.loads(out.readouterr().out)["orchestration"]["max_retries"] == 1


def test_sessions_of_a_folder_without_any(tmp_path: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["session", "list", "--path", str(tmp_path)]) == 2
    assert "There is no .atlas" in out.readouterr().err


def test_an_unknown_session(shop: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["session", "show", "ffff", "--path", str(shop)]) == 2
    assert "There is no session ffff" in out.readouterr().err


def test_a_key_without_lessons(shop: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["playbook", "show", "orders", "--path", str(shop)]) == 0
    assert "student's playbook of orders, version 0" in out.readouterr().out
    assert run_command(["playbook", "list", "--path", str(shop)]) == 0
    assert out.readouterr().out.startswith("KEY")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_can_be_resumed(shop: Path, how: signal.Signals) -> None:
    for name in ("go", "waiting"):
        (shop / name).unlink(missing_ok=True)
    running = start(shop, "run", "--task", "wait here")
    deadline = time.monotonic() + 20
    while not (shop / "waiting").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(how)
    answer, said = running.communicate(timeout=20)  # the agent still hangs
    (shop / "go").touch()
    assert (running.returncode, answer) == (130, ""), said
    hint = said.split("resume with: ")[1].split()
    assert hint[:2] == ["atlas", "resume"]
    again = start(shop, *hint[1:])
    answer, said = again.communicate(timeout=20)
    assert (again.returncode, answer) == (0, "shop did: wait here\n"), said
    none_left = start(shop, "resume")
    assert none_left.communicate(timeout=20)[1] == (
        "atlas: There is no interrupted session. List all with: atlas session list\n"
    )
    assert none_left.returncode == 2


def test_a_reader_that_leaves_is_no_error(shop: Path) -> None:
    atlas_command = f"{sys.executable} -m atlas"
    one = f"$({atlas_command} session list --json --limit 1 | cut -c8-43)"
    command = f"set -o pipefail; {atlas_command} session show --events --json {one} | head -c 1"
    shown = subprocess.run(["bash", "-c", command], cwd=shop, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "{", "")


def test_the_local_database_is_started_and_stopped(tmp_path: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["quit", "--path", str(tmp_path)]) == 0
    assert run_command(["init", "--path", str(tmp_path)]) == 0
    address = out.readouterr().out.splitlines()[-1]
    try:
        assert address.startswith("postgresql://")
        assert run_command(["init", "--path", str(tmp_path)]) == 0
        assert out.readouterr().out.strip() == address
        assert run_command(["session", "list", "--path", str(tmp_path)]) == 0
    finally:
        assert run_command(["quit", "--path", str(tmp_path)]) == 0
    assert out.readouterr().out.splitlines()[-1] == "stopped"
    assert run_command(["quit", "--path", str(tmp_path)]) == 0
    assert out.readouterr().out == "not running\n"
    remove_data(tmp_path)


def test_the_doctor_leaves_nothing_behind(tmp_path: Path, out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--path", str(tmp_path)]) == 0
    assert "ok   database: answers in" in out.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_doctor_names_what_is_missing(
    shop: Path, out: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(["doctor", "--path", str(shop)]) == 0
    shown = out.readouterr().out
    assert "ok   database: answers in" in shown
    assert "ok   teacher: no model" in shown
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = shop / "keyless.yaml"
    config.write_text("agent: {type: openai, llm: {model: gpt-5}}\nstorage: null")
    assert run_command(["doctor", "--path", str(shop), "--config", str(config)]) == 2
    assert "FAIL student: " in (shown := out.readouterr().out)
    assert "OPENAI_API_KEY" in shown


def test_the_version(out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["version"]) == 0
    assert out.readouterr().out.startswith("atlas-loop ")


def test_arguments_that_make_no_sense(out: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runn"]) == 2
    assert "No such command" in out.readouterr().err
    assert run_command(["run"]) == 2
    assert "Missing option '--task'" in out.readouterr().err
    assert run_command(["playbook", "show", "k", "--version", "1"]) == 2
    assert run_command(["run", "--task", "x", "--env", "1X"]) == 2
    assert os.environ.get("1X") is None


CHATTY = """\
def solve(prompt):
    print("the agent talks")
    if "key" in prompt:
        raise RuntimeError("refused sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT5vW7")
    return "done"
"""


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    (tmp_path / "chatty.py").write_text(CHATTY)
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'chatty:solve'}\nstorage: null\n")
    return tmp_path


def test_stdout_has_the_answer_alone(chatty: Path) -> None:
    plain = start(chatty, "run", "--task", "x").communicate(timeout=60)
    assert plain[0] == "done\n"
    assert "the agent talks" in plain[1]
    as_json = start(chatty, "run", "--task", "x", "--json").communicate(timeout=60)
    assert json.loads(as_json[0])["final_answer"] == "done"


def test_an_error_of_the_users_code_shows_no_key(chatty: Path) -> None:
    said = start(chatty, "run", "--task", "a key", "--json").communicate(timeout=60)
    assert "raised RuntimeError: refused" in said[1]
    assert "sk-proj-aB3d" not in said[0] + said[1]
    assert json.loads(said[0])["status"] == "failed"


def test_a_failure_before_the_session_is_json_too(tmp_path: Path) -> None:
    process = start(write_project(tmp_path, DEAD_STORE), "run", "--task", "x", "--json")
    said, complained = process.communicate(timeout=60)
    told = json.loads(said)
    assert (told["session_id"], told["status"], told["failure"]["boundary"]) == (None, "failed", "store")
    assert process.returncode == 4
    assert complained.startswith("atlas: ")


def test_the_id_that_progress_shows_names_the_session(shop: Path) -> None:
    process = start(shop, "run", "--task", "fold the boxes", "--json")
    session_id = json.loads(process.communicate(timeout=60)[0])["session_id"]
    shown, complained = start(shop, "session", "show", session_id[-8:]).communicate(timeout=60)
    assert session_id in shown, complained


def test_doctor_imports_what_a_run_would(tmp_path: Path) -> None:
    config = STORED.replace("{type: regex, pattern: did}", "{type: python, import_path: 'no:thing'}")
    process = start(write_project(tmp_path, config + "storage: null\n"), "doctor")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "FAIL your code" in said


def test_an_interrupted_demo_says_what_to_do(tmp_path: Path) -> None:
    process = start(tmp_path, "demo", "--tasks", "200")
    while "tickets" not in (process.stdout.readline() if process.stdout else ""):
        assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped after" in complained
    remove_data(tmp_path)
