"""The front door, as a user opens it: from a script, from a running event loop, from many places at once."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from atlas.core import arun, run
from atlas.schema.errors import AgentError, ConfigError


def test_hello_world_needs_no_file_and_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("shout", agent=lambda prompt: prompt.upper())
    assert (result.final_answer, result.status, result.lane) == ("SHOUT", "succeeded", "auto")
    assert result.step_results[0].output == "SHOUT"
    assert result.plan is None
    assert list(tmp_path.iterdir()) == []


async def test_run_works_inside_a_running_event_loop() -> None:
    result = run("shout", agent=lambda prompt: prompt.upper())
    assert result.final_answer == "SHOUT"


async def test_an_async_agent_runs_in_the_callers_loop() -> None:
    mine = asyncio.get_running_loop()
    seen: list[object] = []

    async def agent(prompt: str) -> str:
        seen.append(asyncio.get_running_loop())
        return "ok"

    await arun("x", agent=agent)
    assert seen == [mine]


async def test_many_at_once_each_get_their_own_answer() -> None:
    results = await asyncio.gather(*(arun(f"task {n}", agent=str.upper) for n in range(100)))
    assert [result.final_answer for result in results] == [f"TASK {n}" for n in range(100)]


def test_threads_may_share_the_door() -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(run(f"t{n}", agent=str.upper).final_answer))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [f"T{n}" for n in range(8)]


async def test_the_settled_result_has_the_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.json").write_text(json.dumps([{"reply": "The total is 60."}]))
    (tmp_path / "atlas.yaml").write_text(
        "agent: {type: openai, llm: {provider: scripted, model: script.json}}\n"
        "checks: [{type: regex, pattern: '60'}]\n"
        "adaptive_teaching: {mode_override: auto}\n"
        "storage: null\n"
    )
    result = await arun("Add.", "atlas.yaml", session_metadata={"learning_key": "sums"})
    assert result.final_answer == "The total is 60."
    settled = await result.settled()
    assert settled.reward is not None
    assert settled.reward.value == 1.0
    assert settled.usage_of("student").calls == 1
    assert len(settled.events) > len(result.events)


def test_an_error_names_the_session() -> None:
    def broken(prompt: str) -> str:
        raise KeyError("price")

    with pytest.raises(AgentError, match="KeyError") as caught:
        run("x", agent=broken)
    assert caught.value.session_id


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"agent": "openai:", "config_path": None},
        {"agent": str, "config_path": "x"},
        {"config_path": 123},
        {"agent": str, "api_base": "http://localhost"},
        {"agent": str, "lane": "fast"},
        {"agent": str, "tenant": 5},
        {"agent": str, "session_metadata": {1: 2}},
        {"agent": str, "session_metadata": {"a": object()}},
    ],
    ids=str,
)
def test_wrong_arguments_are_told_in_one_line(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        run("x", **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", [None, 5, "", "  \n"])
def test_a_task_that_is_none_is_told(task: object) -> None:
    with pytest.raises(ConfigError, match="task"):
        run(task, agent=str)  # pyright: ignore[reportArgumentType] - that is the mistake


def test_a_misspelt_argument_is_told_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"learning_keyy.*Did you mean learning_key"):
        run("x", agent=str, learning_keyy="k")  # pyright: ignore[reportCallIssue] - that is the mistake


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        run("x", agent="openai:gpt-5")


def test_a_script_that_ends_at_once_still_gets_its_session_judged(tmp_path: Path) -> None:
    """The answer comes first; judging is finished at interpreter exit."""
    (tmp_path / "checks.py").write_text(
        "import pathlib, time\n"
        "def check(task, answer):\n"
        "    time.sleep(0.2)\n"
        "    pathlib.Path('judged').write_text(answer)\n"
        "    return True\n"
    )
    (tmp_path / "agent.py").write_text("def act(prompt):\n    return prompt.upper()\n")
    (tmp_path / "atlas.yaml").write_text(
        "agent: {type: python, import_path: 'agent:act'}\n"
        "checks: [{type: python, import_path: 'checks:check'}, {type: regex, pattern: SHOUT}]\n"
    )
    script = "from atlas.core import run; print(run('shout', 'atlas.yaml').final_answer)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "SHOUT\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "judged").read_text() == "SHOUT"
    listed = subprocess.run([sys.executable, "-m", "atlas", "session", "list"], cwd=tmp_path, capture_output=True)
    assert re.search(rb"succeeded .*auto +1\.00", listed.stdout)


async def test_run_plays_async_code_inside_a_running_event_loop() -> None:
    async def agent(prompt: str) -> str:
        await asyncio.sleep(0)
        return prompt.upper()

    assert run("shout", agent=agent).final_answer == "SHOUT"


def test_loops_that_are_gone_leave_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "echoing.py").write_text("def echo(prompt):\n    return prompt\n")
    (tmp_path / "echo.yaml").write_text(
        "agent: {type: python, import_path: 'echoing:echo'}\nlearning: {enabled: false}\nstorage: {}\n"
    )

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    asyncio.run(arun("warm up", "echo.yaml"))
    before = files()
    for number in range(30):
        assert asyncio.run(arun(f"t{number}", "echo.yaml")).final_answer == f"t{number}"
    assert files() - before < 30


def test_functions_made_on_the_way_do_not_pile_up() -> None:
    from atlas.core import _host  # pyright: ignore[reportPrivateUsage]
    from atlas.runtime.host import KEPT_OPEN

    for number in range(40):
        assert run("x", agent=lambda prompt, n=number: f"{prompt}{n}").wait().final_answer == f"x{number}"
    assert len(_host()._open) <= KEPT_OPEN  # pyright: ignore[reportPrivateUsage]
