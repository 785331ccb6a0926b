"""Traces of other people's agents, as their instrumentations write them, become whole sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ingest_kit import event, span
from ingest_traces import (
    ANSWER,
    ASKED,
    DIALECTS,
    RESULT,
    RULE,
    SAID,
    WANTED,
    WEATHER,
    genai,
)

from atlas.schema import Session
from atlas.schema.events import ModelCalled, ModelFailed, ToolCalled

Serve = Callable[..., Any]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.__name__)
async def test_every_dialect_tells_the_same_session(serve: Serve, dialect: Callable[[], list[Any]]) -> None:
    client = await serve()
    assert await client.send(*dialect()) == {}
    session = await client.session()
    assert session.task.prompt == ASKED.content
    assert session.task.learning_key == "forecaster"
    assert (session.status, session.answer) == ("succeeded", ANSWER)
    assert session.policy == "student=openai:gpt-5"
    calls = await calls_of(client, session)
    assert [type(call).__name__ for call in calls] == ["ModelCalled", "ToolCalled", "ModelCalled"]
    first, tool, last = calls
    assert first.request.messages == (RULE, ASKED)
    assert first.completion.message == WANTED
    assert first.completion.finish_reason == "tool_calls"
    assert (tool.use.call, tool.use.output, tool.use.error) == (WEATHER, RESULT.content, None)
    assert last.request.messages == (RULE, ASKED, WANTED, RESULT)
    assert (last.completion.message, last.completion.finish_reason) == (SAID, "stop")
    usage = last.completion.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (20, 8, 5)
    (attempt,) = session.attempts
    assert (attempt.output, [use.call for use in attempt.tools]) == (ANSWER, [WEATHER])


async def calls_of(client: Any, session: Session) -> list[Any]:
    events = await client.store.events(session.id)
    return [event.body for event in events if isinstance(event.body, ModelCalled | ModelFailed | ToolCalled)]


async def test_times_are_those_of_the_spans(serve: Serve) -> None:
    client = await serve()
    await client.send(*genai())
    session = await client.session()
    first, tool, last = await calls_of(client, session)
    assert [round(call.latency_s, 6) for call in (first, tool, last)] == [0.2, 0.1, 0.5]
    assert (session.finished_at - session.created_at).total_seconds() == 1.0
    assert session.created_at.timestamp() == 1_760_000_000
    assert int(session.id.replace("-", "")[:12], 16) == 1_760_000_000_000


async def test_settings_tools_and_labels_are_kept(serve: Serve) -> None:
    client = await serve()
    await client.send(*genai())
    session = await client.session()
    first = (await calls_of(client, session))[0]
    assert first.request.temperature == 0.0
    assert [(tool.name, tool.parameters) for tool in first.request.tools] == [("weather", {"a": 1})]
    assert first.completion.model == "gpt-5-2025"
    assert session.metadata["source"] == "otlp"
    assert session.metadata["service"] == "shop"
    assert session.metadata["attributes"]["custom.team"] == "blue"


async def test_a_failed_call_and_a_failed_agent(serve: Serve) -> None:
    client = await serve()
    failed = {"code": 2, "message": "Connection refused"}
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "error.type": "openai.APIError"}
    thrown = event("exception", **{"exception.type": "builtins.ValueError", "exception.message": "no luck"})
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}
    await client.send(
        span(2, attributes, at=(0.1, 0.2), status=failed),
        span(3, {"gen_ai.tool.name": "t"}, at=(0.3, 0.4), status={"code": 2}, events=[thrown]),
        span(1, agent, status={"code": 2, "message": "gave up"}),
    )
    session = await client.session()
    model, tool = await calls_of(client, session)
    assert (model.failure.boundary, model.failure.kind, model.failure.message) == (
        "model",
        "APIError",
        "Connection refused",
    )
    assert tool.use.error == "no luck"
    assert (session.status, session.answer) == ("failed", None)
    assert (session.failure.boundary, session.failure.message) == ("agent", "gave up")


async def test_a_call_that_two_instrumentations_tell_counts_once(serve: Serve) -> None:
    client = await serve()
    outer = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5", "input.value": "hi", "output.value": "hello"}
    inner = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    await client.send(span(1, outer), span(2, inner, at=(0.1, 0.9)))
    session = await client.session()
    assert len(await calls_of(client, session)) == 1
    assert (session.task.prompt, session.answer) == ("hi", "hello")


async def test_the_words_of_a_model_within_a_tool_are_not_the_answer(serve: Serve) -> None:
    client = await serve()
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}

    def said(words: str) -> dict[str, Any]:
        return chat | {"gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [words]}])}

    await client.send(
        span(1, {"http.route": "/ask"}),
        span(2, said("the answer"), at=(0.1, 0.2)),
        span(3, {"gen_ai.tool.name": "t"}, at=(0.3, 0.6)),
        span(4, said("within"), parent=3, at=(0.4, 0.5)),
    )
    session = await client.session()
    assert session.answer == "the answer"
    assert session.total_usage.calls == 2


async def test_what_is_no_call_is_kept_beside_the_session(serve: Serve) -> None:
    client = await serve()
    retrieval = {"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.content": "a page"}
    scored = event(
        "gen_ai.evaluation.result", **{"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 4.0}
    )
    await client.send(*genai()[:-1], span(1, {"openinference.span.kind": "AGENT"}, events=[scored]), span(9, retrieval))
    session = await client.session()
    assert session.metadata["other_spans"][0]["attributes"]["retrieval.documents.0.document.content"] == "a page"
    assert session.metadata["evaluations"][0]["gen_ai.evaluation.name"] == "tone"
    assert session.reward is None
