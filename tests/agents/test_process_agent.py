"""A program as the agent."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from agents_kit import MemoryTrace, retried, turn

from atlas.agents import ProcessAgent
from atlas.config import ProcessAgentConfig
from atlas.models import Caller, Journal
from atlas.schema import Attempt
from atlas.schema.errors import AgentError
from atlas.schema.events import Attempted


def program(code: str, *arguments: str, **fields: Any) -> ProcessAgent:
    command = [sys.executable, "-c", code, *arguments]
    config = ProcessAgentConfig.model_validate({"type": "process", "command": command} | fields)
    return ProcessAgent(config, folder=Path.cwd())


ECHO = "import sys; print(sys.stdin.read())"


async def test_it_reads_the_prompt_and_prints_the_answer(caller: Caller) -> None:
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    output = await program(ECHO).act(retried("- ünï"), caller, on_text=hear)
    assert output.text == "What is 6 x 7?\n\nA reviewer found a problem: it is even.\n\nPlaybook:\n- ünï"
    assert "".join(heard).strip() == output.text


async def test_it_may_take_the_task_as_an_argument_and_knows_the_session(caller: Caller) -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['ATLAS_SESSION_ID'], os.environ['MORE'], sys.stdin.read())"
    agent = program(code, "{task}", "-{guidance}-", input=None, env={"MORE": "x"})
    assert (await agent.act(turn(prompt="a 'b' $(c)"), caller)).text == "[\"a 'b' $(c)\", '--'] 0190-session x"
    assert not agent.abilities.injects
    assert program(ECHO).abilities.injects


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("import sys; sys.exit('no key')", "ended with code 1: no key"),
        ("print('late', end=''); import os; os._exit(3)", "ended with code 3: it said nothing"),
        ("pass", "printed no answer"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with code -11"),
        ("print('a' * 20 * 2**20)", "printed more than 16 MiB"),
        ("import sys; sys.stderr.write('x' * 2**20 + 'the end'); sys.exit(1)", "the end|x…"),
    ],
)
async def test_a_program_that_fails(code: str, match: str, caller: Caller) -> None:
    with pytest.raises(AgentError, match=match):
        await program(code).act(turn(), caller)


async def test_a_program_that_does_not_exist(caller: Caller) -> None:
    config = ProcessAgentConfig(type="process", command=("no-such-program",))
    with pytest.raises(AgentError, match="no-such-program cannot be started: No such file"):
        await ProcessAgent(config, folder=Path.cwd()).act(turn(), caller)


async def test_a_program_that_does_not_read_answers_all_the_same(caller: Caller) -> None:
    output = await program("import os, sys; os.close(0); print(42)").act(turn(prompt="x" * 2**20), caller)
    assert output.text == "42"


FORKS = """
import os, signal, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True: time.sleep(1)
print(os.getpgrp(), flush=True)
"""


async def members(group: int) -> list[int]:
    """Who is left in a process group, once the kernel has had time to end them."""
    for _ in range(100):
        if not (left := alive(group)):
            return []
        await asyncio.sleep(0.02)
    return left


def alive(group: int) -> list[int]:
    return [p.pid for p in psutil.process_iter() if p.status() != psutil.STATUS_ZOMBIE and os.getpgid(p.pid) == group]


async def test_no_child_of_it_stays(caller: Caller) -> None:
    started = time.monotonic()
    output = await program(FORKS).act(turn(), caller)
    assert time.monotonic() - started < 5
    assert await members(int(output.text)) == []


async def test_one_that_hangs_is_ended_with_its_children(caller: Caller, tmp_path: Path) -> None:
    note = tmp_path / "group"
    code = FORKS.replace("print(os.getpgrp(), flush=True)", f"open({str(note)!r}, 'w').write(str(os.getpgrp()))")
    code += "\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    with pytest.raises(AgentError, match=r"did not end within 0\.5 s"):
        await program(code, timeout_seconds=0.5).act(turn(), caller)
    assert await members(int(note.read_text())) == []


async def test_a_cancelled_turn_leaves_no_program(caller: Caller, tmp_path: Path) -> None:
    note = tmp_path / "group"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpgrp())); time.sleep(60)"
    working = asyncio.create_task(program(code).act(turn(), caller))
    for _ in range(500):
        await asyncio.sleep(0.02)
        if note.exists() and note.read_text():
            break
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await members(int(note.read_text())) == []


async def test_a_resumed_turn_does_not_start_it_again(trace: MemoryTrace, caller: Caller) -> None:
    await trace.record(Attempted(attempt=Attempt(output="41")))
    resumed = Caller(MemoryTrace(), journal=Journal(trace.events))
    assert (await program("raise SystemExit(1)").act(turn(), resumed)).text == "41"
