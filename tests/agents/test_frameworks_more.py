# ruff: noqa: E501 - a program on few lines
"""CrewAI and the Claude Agent SDK, where they are installed."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agents_kit import MemoryTrace, retried, turn
from aiohttp.test_utils import TestServer
from framework_kit import ModelServer

from atlas.agents import Surroundings, agent_of
from atlas.models import Caller
from atlas.schema.errors import AgentError
from atlas.schema.events import ModelCalled

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    running = ModelServer()
    async with TestServer(running.app()) as served:
        running.url = str(served.make_url("/v1"))
        yield running


async def test_a_crew(server: ModelServer, caller: Caller, trace: MemoryTrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWAI_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    crewai = pytest.importorskip("crewai", reason="crewai is not installed")
    llm = crewai.LLM(model="openai/served-model", base_url=server.url, api_key="k")
    clerk = crewai.Agent(role="clerk", goal="answer", backstory="You are brief.", llm=llm)
    task = crewai.Task(description="Answer: {task}", expected_output="one line", agent=clerk)
    agent = agent_of(crewai.Crew(agents=[clerk], tasks=[task], name="shop"), Surroundings(), where="test")
    output = await agent.act(retried("- count twice"), caller)
    assert output.text == "There are no tools."
    assert "count twice" in str(server.bodies[0])
    models = [event.body for event in trace.events if isinstance(event.body, ModelCalled)]
    assert len(models) == len(server.bodies)
    assert models[0].completion.usage.prompt_tokens == 30
    fixed = crewai.Task(description="Say hello.", expected_output="one line", agent=clerk)
    deaf = agent_of(crewai.Crew(agents=[clerk], tasks=[fixed]), Surroundings(), where="test")
    assert deaf.abilities.level == "result + traces"


CLAUDE = '''#!{python}
"""Speaks the SDK's protocol: initialises, calls the hooks around one tool, and answers."""
import json, sys
def say(**message): print(json.dumps(message), flush=True)
if "-v" in sys.argv: print("2.9.9 (Claude Code)"); sys.exit(0)
hooks, prompt, answers = {{}}, None, 0
def call(event, id, **given):
    for matcher in hooks.get(event, []):
        for callback in matcher["hookCallbackIds"]:
            say(type="control_request", request_id=id, request={{"subtype": "hook_callback", "callback_id": callback,
                "tool_use_id": "t1", "input": {{"hook_event_name": event, "tool_name": "Bash", "tool_use_id": "t1",
                "tool_input": {{"command": "date"}}, "session_id": "s", "transcript_path": "", "cwd": ".", **given}}}})
            while json.loads(sys.stdin.readline())["type"] != "control_response": pass
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "control_request":
        hooks = message["request"].get("hooks") or {{}}
        say(type="control_response", response={{"subtype": "success", "request_id": message["request_id"], "response": {{}}}})
    elif message["type"] == "user":
        prompt = message["message"]["content"]
        if "fail" in prompt:
            say(type="result", subtype="error_during_execution", duration_ms=1, duration_api_ms=1, is_error=True, num_turns=1,
                session_id="s", result="no credit")
            break
        say(type="assistant", session_id="s", message={{"role": "assistant", "model": "claude-x", "content":
            [{{"type": "tool_use", "id": "t1", "name": "Bash", "input": {{"command": "date"}}}}],
            "usage": {{"input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 3}}}})
        call("PreToolUse", "h1")
        call("PostToolUse", "h2", tool_response="Monday")
        say(type="result", subtype="success", duration_ms=1, duration_api_ms=1, is_error=False, num_turns=1,
            session_id="s", result="asked: " + prompt)
        break
'''


async def test_claude_by_its_hooks(tmp_path: Path, caller: Caller, trace: MemoryTrace) -> None:
    sdk = pytest.importorskip("claude_agent_sdk", reason="claude-agent-sdk is not installed")
    program = tmp_path / "claude"
    program.write_text(CLAUDE.format(python=sys.executable))
    program.chmod(0o755)
    options = sdk.ClaudeAgentOptions(cli_path=str(program), cwd=str(tmp_path))
    agent = agent_of(options, Surroundings(), where="test")
    output = await agent.act(turn(prompt="What day is it?"), caller)
    assert output.text == "asked: What day is it?"
    (use,) = output.tools
    assert (use.call.name, json.loads(use.call.arguments), use.output) == ("Bash", {"command": "date"}, "Monday")
    assert trace.types == ["model_called", "tool_called"]
    model = trace.events[0].body
    assert isinstance(model, ModelCalled)
    assert (model.completion.usage.prompt_tokens, model.completion.usage.cached_tokens) == (25, 20)
    assert options.hooks is None
    with pytest.raises(AgentError, match="no credit"):
        await agent.act(turn(prompt="fail"), Caller(MemoryTrace()))
