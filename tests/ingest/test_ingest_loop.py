"""Atlas tells a session over OTLP, and the receiver makes the same conversation of it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ingest_kit import QUICK

from atlas.config import AtlasConfig
from atlas.runtime import open_runtime
from atlas.schema import Event, Session, Task
from atlas.schema.errors import AtlasError
from atlas.schema.events import ModelCalled, ModelFailed, ToolCalled

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http",
    reason="OpenTelemetry's exporter is not installed: pip install 'atlas-loop[otel]'",
)

Serve = Callable[..., Any]
KEY = {"authorization": "Bearer ${KEY}"}

TOOLS = '''
from atlas.agents import tool

@tool(effect="none")
def look_up(number: int) -> str:
    """Look up an order."""
    if number == 13:
        raise ValueError("no such order")
    return f"order {number} is paid \N{SNOWMAN}"
'''
RULES: list[dict[str, object]] = [
    {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
    {"when": "You review another agent's plan", "reply": {"accepted": True, "guidance": None}},
    {
        "when": "You split the task",
        "reply": {
            "steps": [
                {"id": 1, "description": "look up order 13", "depends_on": []},
                {"id": 2, "description": "look up order 7", "depends_on": [1]},
            ]
        },
    },
    {"when": "order 13", "tool_calls": [{"name": "look_up", "arguments": {"number": 13}}], "reply": "There is none."},
    {"when": "order 7", "tool_calls": [{"name": "look_up", "arguments": {"number": 7}}], "reply": "It is paid."},
    {"when": "", "reply": "One is paid."},
]


def settings(folder: Path, endpoint: str, **changes: object) -> AtlasConfig:
    (folder / "script.yaml").write_text(json.dumps(RULES))
    (folder / "loop_tools.py").write_text(TOOLS)
    llm = {"provider": "scripted", "model": "script.yaml"}
    tree: dict[str, object] = {
        "agent": {"type": "openai", "llm": llm, "tools": [{"import_path": "loop_tools:look_up"}]},
        "checks": [{"type": "regex", "pattern": "paid"}],
        "storage": None,
        "telemetry": {
            "otlp_endpoint": endpoint,
            "capture_content": True,
            "headers": {"authorization": "Bearer ${KEY}"},
        },
    }
    return AtlasConfig.model_validate(tree | changes)


def conversation(events: list[Event]) -> list[Any]:
    """What was said and done, without what only the one who ran it can know."""
    told: list[Any] = []
    for event in events:
        match event.body:
            case ModelCalled(request=request, completion=said) as body:
                place = (body.actor, body.purpose, body.step, body.attempt, body.model)
                seen = (request.messages, request.tools, request.max_output_tokens, request.temperature)
                told.append((*place, *seen, said.message, said.finish_reason, said.usage))
            case ToolCalled(use=use) as body:
                told.append((body.step, body.attempt, use, body.effect))
            case ModelFailed(failure=failure) as body:
                told.append((body.actor, body.purpose, failure.kind, failure.message))
            case _:
                pass
    return told


def outcome(session: Session) -> tuple[Any, ...]:
    attempts = [(each.step, each.number, each.output, each.tools) for each in session.attempts]
    task = (session.task.prompt, session.task.learning_key, session.task.tenant)
    return (*task, session.status, session.answer, session.accepted, attempts, session.total_usage)


@pytest.mark.parametrize("lane", ["auto", "paired", "coach"])
async def test_a_session_comes_back_as_it_was(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: Any
) -> None:
    monkeypatch.setenv("KEY", "geheim")
    rules = QUICK.model_copy(update={"learning_key": None})
    client = await serve(rules=rules, token="geheim")
    runtime = await open_runtime(settings(tmp_path, client.url.removesuffix("/v1/traces")), folder=tmp_path)
    running = await runtime.start(Task(prompt="What of order 7?", learning_key="orders"), lane=lane)
    session = await running.settled()
    events = await runtime.store.events(session.id)
    await runtime.close()
    back = await client.session()
    assert conversation(await client.store.events(back.id)) == conversation(events)
    assert outcome(back) == outcome(session)
    assert len(back.attempts) == (2 if lane == "coach" else 1)
    assert back.metadata["trace_id"] == session.id.replace("-", "")
    assert back.metadata["conversation"] == session.id
    scores = {each["gen_ai.evaluation.name"]: each for each in back.metadata["evaluations"]}
    assert scores["atlas.reward"]["gen_ai.evaluation.score.value"] == session.reward.value


async def test_a_failed_session_comes_back_failed(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "x")
    client = await serve()
    dead = {"provider": "openai", "model": "m", "api_base": "http://127.0.0.1:9", "retry": {"attempts": 1}}
    config = settings(tmp_path, client.url, agent={"type": "openai", "llm": dead})
    runtime = await open_runtime(config, folder=tmp_path)
    running = await runtime.start(Task(prompt="x"), lane="auto")
    with pytest.raises(AtlasError):
        await running.answered()
    session = await runtime.store.session(running.session_id)
    await runtime.close()
    back = await client.session()
    assert (back.status, back.answer, back.failure.kind) == ("failed", None, session.failure.kind)


async def test_without_content_the_shape_of_the_session_comes_back(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "x")
    client = await serve()
    config = settings(tmp_path, client.url, telemetry={"otlp_endpoint": client.url})
    runtime = await open_runtime(config, folder=tmp_path)
    session = await (await runtime.start(Task(prompt="What of order 7?"), lane="paired")).settled()
    await runtime.close()
    back = await client.session()
    assert (back.status, back.answer, back.task.prompt) == ("succeeded", None, "")
    assert back.total_usage == session.total_usage
    assert [use.call.name for use in back.attempts[0].tools] == ["look_up"]
