"""A session as a trace: what a receiver of OpenTelemetry sees of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from atlas.config import AtlasConfig, TelemetryConfig
from atlas.runtime import Runtime, open_runtime
from atlas.runtime.telemetry import EventBus
from atlas.runtime.telemetry import semconv as sc
from atlas.runtime.telemetry.otel import SpanExport, export_spans, export_through
from atlas.schema import Event, Failure, Session, Task, new_id, now
from atlas.schema import events as ev
from atlas.schema.errors import AtlasError, ConfigError
from atlas.store import safety_of

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry's SDK is not installed: pip install 'atlas-loop[otel]'")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TOOLS = '''
from atlas.agents import tool

@tool(effect="none")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b
'''
RULES: list[dict[str, object]] = [
    {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
    {"when": "You write lessons", "reply": {"entries": []}},
    {
        "when": "secret sum",
        "tool_calls": [{"name": "add", "arguments": {"a": 20, "b": 40}}],
        "reply": "The total is 60.",
    },
    {"when": "", "reply": "The total is 60."},
]


def settings(folder: Path, **changes: object) -> AtlasConfig:
    (folder / "script.yaml").write_text(json.dumps(RULES))
    (folder / "span_tools.py").write_text(TOOLS)
    llm = {"provider": "scripted", "model": "script.yaml"}
    tree: dict[str, object] = {
        "agent": {"type": "openai", "name": "adder", "llm": llm, "tools": [{"import_path": "span_tools:add"}]},
        "checks": [{"type": "regex", "pattern": "60"}],
        "storage": None,
    }
    return AtlasConfig.model_validate(tree | changes)


Watch = Callable[..., Any]


class Seen:
    """The spans of one runtime."""

    def __init__(self, runtime: Runtime, export: SpanExport, memory: InMemorySpanExporter) -> None:
        self.runtime, self._export, self._memory = runtime, export, memory

    async def play(self, prompt: str = "The secret sum of 20 and 40.") -> Session:
        running = await self.runtime.start(Task(prompt=prompt, learning_key="sums"), lane="paired")
        return await running.settled()

    async def spans(self) -> list[ReadableSpan]:
        await self._export.close()
        return list(self._memory.get_finished_spans())


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    opened: list[Runtime] = []

    async def start(*, capture: bool = False, **changes: object) -> Seen:
        bus, memory = EventBus(), InMemorySpanExporter()
        config = TelemetryConfig(capture_content=capture, service_name="desk")
        export = export_through(SimpleSpanProcessor(memory), bus, config, agent="adder")
        opened.append(await open_runtime(settings(tmp_path, **changes), folder=tmp_path, bus=bus))
        return Seen(opened[-1], export, memory)

    yield start
    for runtime in opened:
        await runtime.close()


def named(spans: list[ReadableSpan], start: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name.startswith(start)]


def evaluations(root: ReadableSpan) -> dict[str, dict[str, Any]]:
    found = [dict(event.attributes or {}) for event in root.events if event.name == sc.EVALUATION_EVENT]
    return {str(attributes[sc.EVALUATION_NAME]): attributes for attributes in found}


async def test_a_session_is_one_trace_that_carries_its_id(watch: Watch) -> None:
    seen = await watch()
    session = await seen.play()
    spans = await seen.spans()
    (root,) = named(spans, "invoke_agent")
    assert root.name == "invoke_agent adder"
    assert root.parent is None
    assert {span.context.trace_id for span in spans} == {UUID(session.id).int}
    assert all(span.parent.span_id == root.context.span_id for span in spans if span is not root)
    assert root.attributes[sc.CONVERSATION] == session.id
    assert root.attributes[sc.LEARNING_KEY] == "sums"
    assert (root.attributes[sc.STATUS], root.attributes[sc.ACCEPTED], root.attributes[sc.LANE]) == (
        "succeeded",
        True,
        "paired",
    )
    assert root.resource.attributes["service.name"] == "desk"


async def test_model_calls_are_chat_spans_with_usage_and_their_own_time(watch: Watch) -> None:
    seen = await watch()
    session = await seen.play()
    events = await seen.runtime.store.events(session.id)
    calls = [event for event in events if isinstance(event.body, ev.ModelCalled)]
    chats = named(await seen.spans(), "chat ")
    assert len(chats) == len(calls)
    for span, event in zip(chats, calls, strict=True):
        usage = event.body.completion.usage
        assert span.kind is trace.SpanKind.CLIENT
        assert span.attributes[sc.OPERATION] == "chat"
        assert span.attributes[sc.PROVIDER] == "scripted"
        assert span.attributes[sc.INPUT_TOKENS] == usage.prompt_tokens
        assert span.attributes[sc.OUTPUT_TOKENS] == usage.completion_tokens
        assert span.attributes[sc.CACHED_TOKENS] == usage.cached_tokens
        assert span.attributes[sc.FINISH_REASONS] == (event.body.completion.finish_reason,)
        assert (span.attributes[sc.ACTOR], span.attributes[sc.PURPOSE]) == (event.body.actor, event.body.purpose)
        assert span.end_time / 1e9 == pytest.approx(event.at.timestamp(), abs=1e-5)
        assert (span.end_time - span.start_time) / 1e9 == pytest.approx(event.body.latency_s, abs=1e-5)


async def test_verdicts_the_review_and_the_reward_are_evaluations_of_the_session(watch: Watch) -> None:
    seen = await watch()
    await seen.play()
    (root,) = named(await seen.spans(), "invoke_agent")
    told = evaluations(root)
    assert told[sc.REVIEW][sc.EVALUATION_LABEL] == "accepted"
    assert told["check:regex"][sc.EVALUATION_SCORE] == 1.0
    assert told[sc.REWARD][sc.EVALUATION_SCORE] == 1.0
    assert told[sc.REWARD][sc.REWARD_SOURCE] == "check"


async def test_playbooks_are_memory_operations(watch: Watch) -> None:
    seen = await watch()
    await seen.play()
    recalls = named(await seen.spans(), "search_memory")
    assert [span.attributes[sc.MEMORY_STORE] for span in recalls] == ["default/sums/student", "default/sums/teacher"]
    assert all(span.attributes[sc.MEMORY_COUNT] == 0 for span in recalls)


@pytest.mark.parametrize("capture", [False, True])
async def test_content_is_told_only_where_it_may_be(watch: Watch, capture: bool) -> None:
    seen = await watch(capture=capture)
    await seen.play()
    spans = await seen.spans()
    words = json.dumps([[dict(span.attributes), [dict(event.attributes) for event in span.events]] for span in spans])
    assert ("secret sum" in words) is capture
    assert ("The total is" in words) is capture
    (tool,) = named(spans, "execute_tool add")
    assert tool.attributes[sc.TOOL_CALL_ID]
    assert tool.attributes[sc.EFFECT] == "none"
    assert tool.attributes.get(sc.TOOL_RESULT) == ("60" if capture else None)


async def test_the_callers_span_is_the_parent(watch: Watch) -> None:
    seen = await watch()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("caller")
    with tracer.start_as_current_span("request") as caller:
        await seen.play()
    (root,) = named(await seen.spans(), "invoke_agent")
    assert root.parent.span_id == caller.get_span_context().span_id
    assert root.context.trace_id == caller.get_span_context().trace_id


async def test_a_failed_session_says_why(watch: Watch) -> None:
    llm = {"provider": "openai", "model": "m", "api_base": "http://127.0.0.1:9", "retry": {"attempts": 1}}
    seen = await watch(agent={"type": "openai", "llm": llm})
    running = await seen.runtime.start(Task(prompt="x"), lane="auto")
    with pytest.raises(AtlasError):
        await running.answered()
    spans = await seen.spans()
    (root,), (chat,) = named(spans, "invoke_agent"), named(spans, "chat m")
    for span in (root, chat):
        assert span.attributes[sc.ERROR_TYPE] == "ModelUnavailable"
        assert span.status.status_code is trace.StatusCode.ERROR


def subscriber() -> tuple[EventBus, SpanExport, InMemorySpanExporter]:
    bus, memory = EventBus(), InMemorySpanExporter()
    return bus, export_through(SimpleSpanProcessor(memory), bus, TelemetryConfig(), agent="a"), memory


def told(session_id: str, *bodies: ev.Body) -> list[Event]:
    return [Event(session_id=session_id, seq=seq, at=now(), body=body) for seq, body in enumerate(bodies, start=1)]


async def test_an_interrupted_session_that_goes_on_is_a_second_span_of_its_trace() -> None:
    bus, export, memory = subscriber()
    session_id = new_id()
    start = ev.SessionStarted(task=Task(prompt="p"))
    for event in told(session_id, start, ev.Finished(status="interrupted"), ev.SessionResumed(finished_calls=1)):
        bus.publish(event)
    await export.close()
    first, second = memory.get_finished_spans()
    assert first.context.trace_id == second.context.trace_id == UUID(session_id).int
    assert first.attributes[sc.ERROR_TYPE] == "interrupted"
    assert second.attributes[sc.RESUMED] is True


async def test_what_arrives_without_a_beginning_is_passed_over() -> None:
    bus, export, memory = subscriber()
    for event in told(new_id(), ev.Answered(answer="x"), ev.Finished(status="succeeded")):
        bus.publish(event)
    await export.close()
    assert memory.get_finished_spans() == ()


async def test_a_learnt_version_and_a_failure_to_learn_are_told() -> None:
    bus, export, memory = subscriber()
    session_id = new_id()
    failure = Failure(boundary="model", kind="ModelTimeout", message="No answer.")
    bodies = (
        ev.SessionStarted(task=Task(prompt="p", learning_key="k")),
        ev.Learnt(audience="student", version=3, added=("a", "b"), changed=("c:active",)),
        ev.LearningFailed(failure=failure),
        ev.Degraded(what="no teacher", failure=failure),
        ev.JudgeFailed(judge="rubric", failure=failure),
    )
    for event in told(session_id, *bodies):
        bus.publish(event)
    await export.close()
    learnt, failed, root = memory.get_finished_spans()
    assert (learnt.name, learnt.attributes[sc.MEMORY_STORE]) == ("upsert_memory", "default/k/student")
    assert (learnt.attributes[sc.MEMORY_COUNT], learnt.attributes[sc.PLAYBOOK_VERSION]) == (3, 3)
    assert failed.attributes[sc.ERROR_TYPE] == "ModelTimeout"
    assert [event.name for event in root.events] == [sc.DEGRADED_EVENT, sc.EVALUATION_EVENT]


async def test_secrets_are_not_told() -> None:
    bus, memory, key = EventBus(), InMemorySpanExporter(), "sk-" + "a1B2" * 10
    config, clean = TelemetryConfig(capture_content=True), safety_of().boundary.noun
    export = export_through(SimpleSpanProcessor(memory), bus, config, agent="a", clean=clean)
    failure = Failure(boundary="agent", kind="E", message=f"refused {key}")
    bodies = (ev.SessionStarted(task=Task(prompt=f"use {key}")), ev.Finished(status="failed", failure=failure))
    for event in told(new_id(), *bodies):
        bus.publish(event)
    await export.close()
    (root,) = memory.get_finished_spans()
    assert key not in root.to_json()
    assert "redacted" in root.to_json()


async def test_a_dead_receiver_costs_a_session_nothing(tmp_path: Path) -> None:
    telemetry = {"otlp_endpoint": "http://127.0.0.1:9", "capture_content": True}
    runtime = await open_runtime(settings(tmp_path, telemetry=telemetry), folder=tmp_path)
    running = await runtime.start(Task(prompt="lone \ud800 surrogate"), lane="auto")
    started = time.perf_counter()
    assert (await asyncio.wait_for(running.settled(), 5)).status == "succeeded"
    assert time.perf_counter() - started < 2
    await asyncio.wait_for(runtime.close(), 15)


async def test_without_opentelemetry_the_configuration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'atlas-loop\[otel\]'"):
        await open_runtime(settings(tmp_path, telemetry={"otlp_endpoint": "http://127.0.0.1:9"}), folder=tmp_path)


def test_nothing_is_exported_unless_a_receiver_is_named() -> None:
    assert export_spans(EventBus(), TelemetryConfig(), agent="a") is None


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://host", "http://", ""])
def test_an_endpoint_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        TelemetryConfig(otlp_endpoint=url)
