"""The chat client against a server that behaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from models_kit import FaultServer, ask, reply, said, stream

from atlas.config.llm import LLMConfig
from atlas.models import ChatModel, HttpPool
from atlas.schema import Message, Request, ToolCall, ToolSpec
from atlas.schema.errors import ModelBadReply

Make = Callable[..., ChatModel]


def chunk(**delta: Any) -> bytes:
    finish = delta.pop("finish_reason", None)
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"model": "served", "choices": [choice]}).encode() + b"\n\n"


async def test_an_answer_with_its_usage(server: FaultServer, chat: Make) -> None:
    server.play(reply(said("42")))
    completion = await chat().complete(ask(), timeout_s=5)
    assert completion.message.content == "42"
    assert completion.model == "served"
    usage = completion.usage
    assert (usage.calls, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (1, 10, 4, 5)
    assert usage.cost_usd is None  # this host has no list price
    assert server.bodies[0] == {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is 6 x 7?"}]}


async def test_the_configuration_fills_what_the_request_leaves_open(server: FaultServer, chat: Make) -> None:
    server.play(reply(said("42")))
    model = chat(temperature=0.5, top_p=0.9, max_output_tokens=99, extra_body={"user": "me"}, headers={"X-Team": "a"})
    await model.complete(ask(temperature=0.0, seed=7), timeout_s=5)
    body = server.bodies[0]
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.0, 0.9, 99, 7)
    assert body["user"] == "me"
    assert server.headers[0]["X-Team"] == "a"


async def test_tools_travel_in_both_directions(server: FaultServer, chat: Make) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    server.play(
        reply({"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    )
    asked = ToolCall(id="c0", name="add", arguments="{}")
    request = Request(
        messages=(
            Message(role="user", content="add"),
            Message(role="assistant", tool_calls=(asked,)),
            Message(role="tool", content="1", tool_call_id="c0"),
        ),
        tools=(ToolSpec(name="add", description="Add."),),
        tool_choice="add",
    )
    completion = await chat().complete(request, timeout_s=5)
    assert completion.finish_reason == "tool_calls"
    assert completion.message.tool_calls == (ToolCall(id="c1", name="add", arguments='{"a": 1}'),)
    body = server.bodies[0]
    assert body["tools"][0]["function"]["name"] == "add"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert body["messages"][1]["tool_calls"][0] == {
        "id": "c0",
        "type": "function",
        "function": {"name": "add", "arguments": "{}"},
    }
    assert body["messages"][2] == {"role": "tool", "content": "1", "tool_call_id": "c0"}


async def test_text_streams_as_it_comes(server: FaultServer, chat: Make) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    server.play(
        stream(
            b": keep alive\n\n",
            chunk(role="assistant", content="The "),
            chunk(content="ans") + chunk(content="wer")[:20],
            chunk(content="wer")[20:],
            chunk(finish_reason="stop"),
            b"data: " + json.dumps(usage).encode() + b"\r\n\r\ndata: [DONE]\n\n",
        )
    )
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    completion = await chat().complete(ask(), timeout_s=5, on_text=hear)
    assert heard == ["The ", "ans", "wer"]
    assert completion.message.content == "The answer"
    assert completion.usage.prompt_tokens == 9
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_parallel_tool_calls_stream_in_pieces(server: FaultServer, chat: Make) -> None:
    def piece(index: int | None, arguments: str, **more: str) -> bytes:
        named = {"name": more["name"]} if "name" in more else {}
        call = {"index": index, "id": more.get("id"), "function": {"arguments": arguments} | named}
        return chunk(tool_calls=[call])

    server.play(
        stream(
            piece(0, "", id="a", name="add"),
            piece(1, "", id="b", name="mul"),
            piece(0, '{"x"'),
            piece(1, '{"y": 2}'),
            piece(0, ": 1}"),
            chunk(finish_reason="tool_calls"),
            b"data: [DONE]\n\n",
        )
    )

    async def hear(text: str) -> None:
        raise AssertionError(text)

    completion = await chat().complete(ask(), timeout_s=5, on_text=hear)
    assert completion.message.tool_calls == (
        ToolCall(id="a", name="add", arguments='{"x": 1}'),
        ToolCall(id="b", name="mul", arguments='{"y": 2}'),
    )


async def test_a_server_that_does_not_stream_is_heard_all_the_same(server: FaultServer, chat: Make) -> None:
    server.play(reply(said("whole")))
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    completion = await chat().complete(ask(), timeout_s=5, on_text=hear)
    assert (heard, completion.message.content) == (["whole"], "whole")


async def test_sampled_token_ids_are_kept_where_the_server_gives_them(server: FaultServer, chat: Make) -> None:
    choice = {
        "message": {"content": "hi"},
        "finish_reason": "stop",
        "token_ids": [5, 6],
        "logprobs": {"content": [{"token": "h", "logprob": -0.5}, {"token": "i", "logprob": -0.25}]},
    }
    server.play(reply({"choices": [choice]}))
    completion = await chat(provider="vllm").complete(ask(), timeout_s=5)
    assert completion.token_ids == (5, 6)
    assert completion.logprob == pytest.approx(-0.75)
    assert server.bodies[0]["return_token_ids"] is True


async def test_a_server_without_usage_is_estimated(server: FaultServer, chat: Make) -> None:
    server.play(reply({"choices": [{"message": {"content": "12345678"}}], "usage": {"prompt_tokens": "many"}}))
    usage = (await chat().complete(ask("1234"), timeout_s=5)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (1, 2)


async def test_a_refusal_is_an_answer_that_says_so(server: FaultServer, chat: Make) -> None:
    server.play(reply({"choices": [{"message": {"content": None, "refusal": "I cannot."}}]}))
    completion = await chat().complete(ask(), timeout_s=5)
    assert (completion.message.content, completion.finish_reason) == ("I cannot.", "content_filter")


async def test_content_in_parts_is_joined(server: FaultServer, chat: Make) -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    server.play(reply({"choices": [{"message": {"content": parts}}]}))
    assert (await chat().complete(ask(), timeout_s=5)).message.content == "ab"


async def test_nul_and_lone_surrogates_travel(server: FaultServer, chat: Make) -> None:
    server.play(reply('{"choices": [{"message": {"content": "x\\ud800y\\u0000"}}]}'))
    completion = await chat().complete(ask("a\0b\ud83dc\ud83d\ude00"), timeout_s=5)
    assert server.bodies[0]["messages"][0]["content"] == "a\0b\ufffdc\U0001f600"
    assert completion.message.content == "x\ufffdy\0"


async def test_strict_json_schema_is_asked_for(server: FaultServer, chat: Make) -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string", "minLength": 1}},
        "required": ["title"],
        "additionalProperties": False,
    }
    server.play(reply(said("{}")))
    await chat().complete(ask(json_schema=schema), timeout_s=5)
    sent = server.bodies[0]["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True
    assert sent["json_schema"]["schema"]["properties"] == {"title": {"type": "string"}}


async def test_an_open_schema_is_not_asked_for_strictly(server: FaultServer, chat: Make) -> None:
    server.play(reply(said("{}")))
    await chat().complete(ask(json_schema={"type": "object", "properties": {"a": {}}}), timeout_s=5)
    assert server.bodies[0]["response_format"]["json_schema"]["strict"] is False


async def test_many_calls_share_one_pool(mock_llm: str, http: HttpPool) -> None:
    config = LLMConfig(provider="openai", model="m", api_base=mock_llm)
    model = ChatModel(config, http)
    await model.complete(ask(), timeout_s=5)
    before = time.process_time()
    for _ in range(200):
        await model.complete(ask(), timeout_s=5)
    per_call_ms = (time.process_time() - before) / 200 * 1000
    assert per_call_ms < 2.0  # some 0.26 alone; the bound only catches a blunder on a busy machine
    assert len(http.session().connector._conns) == 1  # type: ignore[union-attr]


async def test_the_neutral_mock_is_understood(mock_llm: str, http: HttpPool) -> None:
    config = LLMConfig(provider="openai", model="mock-role-other", api_base=mock_llm)
    model = ChatModel(config, http)
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    plain = await model.complete(ask(), timeout_s=5)
    streamed = await model.complete(ask(), timeout_s=5, on_text=hear)
    assert plain.message.content == streamed.message.content == "".join(heard) == "mock answer: 60"
    assert plain.usage == streamed.usage


async def test_a_reply_that_is_too_large_is_not_read_to_its_end(
    server: FaultServer, chat: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.models.http.MAX_REPLY_BYTES", 1000)
    server.play(reply(said("x" * 5000)))
    with pytest.raises(ModelBadReply, match="more than"):
        await chat().complete(ask(), timeout_s=5)
