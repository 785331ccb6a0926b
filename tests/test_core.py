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
    "arguments", [{}, {"agent": "openai:", "config_path": None}, {"agent": str, "config_path": "x"}]
)
def test_wrong_arguments_are_told_in_one_line(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        run("x", **arguments)
    assert "\n" not in str(caught.value)


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
