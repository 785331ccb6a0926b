"""The official Python SDKs as clients: streaming, tools, structured output, errors, cancellation, retries."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from proxy_kit import chat, chat_stream, chunk, reply, sse, stream, user
from pydantic import BaseModel

openai = pytest.importorskip("openai", reason="the openai SDK is not installed")
anthropic = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
Serve = Any
ASKED: Any = [user("Weather?")]
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


class Weather(BaseModel):
    sky: str
    degrees: int


def asks(client: Any, **more: Any) -> Any:
    return openai.AsyncOpenAI(base_url=client.url + "/v1", api_key="sk-clients-own-key-0123456789", **more)


def claude(client: Any, **more: Any) -> Any:
    return anthropic.AsyncAnthropic(base_url=client.url, api_key="sk-ant-own-key-0123456789", **more)


async def test_openai_chat_and_a_structured_answer(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(reply(chat('{"sky": "blue", "degrees": 20}')))
    async with asks(client) as sdk:
        done = await sdk.chat.completions.parse(model="gpt-x", messages=ASKED, response_format=Weather)
        raw = await sdk.chat.completions.with_raw_response.create(model="gpt-x", messages=ASKED)
    assert done.choices[0].message.parsed == Weather(sky="blue", degrees=20)
    first, second = await client.sessions()
    assert raw.headers["x-atlas-session"] == second.id
    (call,) = [event.body for event in await client.events(first) if event.body.type == "model_called"]
    assert call.request.json_schema["properties"].keys() == {"sky", "degrees"}
    assert client.upstream.headers[0]["Authorization"] == "Bearer sk-clients-own-key-0123456789"


async def test_openai_streams_with_tools(serve: Serve) -> None:
    client = await serve()
    part = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    client.upstream.play(
        stream(
            sse(
                chunk({"role": "assistant", "tool_calls": [part]}),
                chunk({"tool_calls": [rest]}),
                chunk({}, "tool_calls"),
            )
        ),
        stream(*chat_stream("Blue ", "sky.")),
    )
    async with asks(client) as sdk:
        async with sdk.chat.completions.stream(model="gpt-x", messages=ASKED, tools=[TOOL]) as events:
            said = (await events.get_final_completion()).choices[0].message
        assert said.tool_calls[0].function.arguments == '{"at": 1}'
        more = [*ASKED, said.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": "c1", "content": "blue"}]
        words = [
            piece.choices[0].delta.content or ""
            async for piece in await sdk.chat.completions.create(model="gpt-x", messages=more, stream=True)
        ]
    assert "".join(words) == "Blue sky."
    session = await client.session()
    assert session.answer == "Blue sky."
    assert [use.output for use in session.attempts[0].tools] == ["blue"]


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-x",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Sunny.", "annotations": []}],
        }
    ],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    },
}


async def test_openai_responses_plain_and_streamed(serve: Serve) -> None:
    client = await serve()
    made = {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"output": [], "usage": None}}
    delta = {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "output_index": 0}
    delta |= {"content_index": 0, "delta": "Sunny.", "logprobs": []}
    done = {"type": "response.completed", "sequence_number": 2, "response": RESPONSE | {"id": "resp_2"}}
    pieces = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (made, delta, done)]
    client.upstream.play(reply(RESPONSE), stream(*pieces, pause_s=0.01))
    async with asks(client) as sdk:
        first = await sdk.responses.create(model="gpt-x", input="Weather?", instructions="Be short.")
        assert first.output_text == "Sunny."
        events = await sdk.responses.create(
            model="gpt-x", input="Again?", previous_response_id=first.id, stream=True, store=True
        )
        kinds = [event.type async for event in events]
    assert kinds == ["response.created", "response.output_text.delta", "response.completed"]
    session = await client.session()
    assert session.total_usage.cached_tokens == 8
    assert [one.output for one in session.attempts] == ["Sunny."]


def message(*content: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 1}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": list(content)}
    return said | {"stop_reason": stop, "stop_sequence": None, "usage": usage}


def message_stream(*pieces: tuple[dict[str, Any], list[dict[str, Any]]], stop: str) -> list[bytes]:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message(stop="") | {"stop_reason": None}}]
    for index, (block, deltas) in enumerate(pieces):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop, "stop_sequence": None}
    events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events]


async def test_anthropic_messages_with_tools_plain_and_streamed(serve: Serve) -> None:
    client = await serve()
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}}
    text = {"type": "text", "text": ""}
    client.upstream.play(
        reply(message({"type": "text", "text": "I look."}, use, stop="tool_use")),
        stream(*message_stream((text, [{"type": "text_delta", "text": "Blue sky."}]), stop="end_turn"), pause_s=0.01),
    )
    tools = [{"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}]
    async with claude(client) as sdk:
        first = await sdk.messages.create(model="claude-x", max_tokens=99, messages=ASKED, tools=tools, system="Help.")
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "blue"}]}
        said = [block.model_dump(exclude_none=True) for block in first.content]
        more = [*ASKED, {"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
        async with sdk.messages.stream(
            model="claude-x", max_tokens=99, messages=more, tools=tools, system="Help."
        ) as got:
            assert await got.get_final_text() == "Blue sky."
    session = await client.session()
    assert (session.answer, session.policy) == ("Blue sky.", "student=anthropic:claude-x")
    assert [(each.call.arguments, each.output) for each in session.attempts[0].tools] == [('{"at": 1}', "blue")]
    assert session.total_usage.model_dump(exclude={"cost_usd"}) == {
        "calls": 2,
        "prompt_tokens": 34,
        "cached_tokens": 12,
        "completion_tokens": 13,
    }
    sent = {name.lower(): value for name, value in client.upstream.headers[0].items()}
    assert (sent["authorization"], "anthropic-version" in sent) == ("Bearer sk-ant-own-key-0123456789", True)


async def test_anthropic_streams_a_tool_call(serve: Serve) -> None:
    client = await serve()
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    pieces = [{"type": "input_json_delta", "partial_json": part} for part in ('{"at"', ": 1}")]
    client.upstream.play(stream(*message_stream((use, pieces), stop="tool_use")))
    async with (
        claude(client) as sdk,
        sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASKED) as got,
    ):
        assert (await got.get_final_message()).content[0].input == {"at": 1}
    (call,) = [event.body for event in await client.events() if event.body.type == "model_called"]
    assert call.completion.message.tool_calls[0].arguments == '{"at": 1}'


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (404, "NotFoundError"), (422, "UnprocessableEntityError")],
)
async def test_errors_of_the_upstream_reach_the_sdk_as_they_are(serve: Serve, status: int, error: str) -> None:
    client = await serve()
    client.upstream.play(reply({"error": {"message": "No such thing.", "type": "t", "code": "c"}}, status=status))
    async with asks(client) as sdk:
        with pytest.raises(getattr(openai, error)) as raised:
            await sdk.chat.completions.create(model="gpt-x", messages=ASKED)
    assert raised.value.body == {"message": "No such thing.", "type": "t", "code": "c"}
    client.upstream.play(reply({"type": "error", "error": {"type": "t", "message": "No."}}, status=status))
    async with claude(client) as sdk:
        with pytest.raises(getattr(anthropic, error)):
            await sdk.messages.create(model="claude-x", max_tokens=9, messages=[user("Else?")])
    first, second = await client.sessions()
    assert (first.status, first.failure.kind, second.status) == ("failed", "ModelRefused", "failed")
    assert "No such thing." in first.failure.message


async def test_the_sdk_retries_and_it_is_one_session(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(reply({"error": {"message": "slow down"}}, status=429, retry_after_ms="1"), reply(chat("Ok.")))
    async with asks(client, max_retries=2) as sdk:
        done = await sdk.chat.completions.create(model="gpt-x", messages=ASKED)
    assert done.choices[0].message.content == "Ok."
    assert (await client.session()).answer == "Ok."


async def test_an_sdk_that_leaves_a_stream_cancels_the_upstream(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(stream(*chat_stream(*["word "] * 500), pause_s=0.02))
    async with asks(client) as sdk:
        async with await sdk.chat.completions.create(model="gpt-x", messages=ASKED, stream=True) as got:
            async for _ in got:
                break
        async with asyncio.timeout(5):
            while not client.upstream.left:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    session = await client.session()
    assert session.status == "cancelled"
    kinds = [event.body.type for event in await client.events(session)]
    assert kinds[-2:] == ["model_failed", "finished"]


async def test_models_and_embeddings(serve: Serve) -> None:
    client = await serve()
    model = {"id": "gpt-x", "object": "model", "created": 1, "owned_by": "us"}
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}
    made = {"object": "list", "data": [vector], "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    client.upstream.play(reply({"object": "list", "data": [model]}), reply(made))
    async with asks(client) as sdk:
        assert [each.id async for each in sdk.models.list()] == ["gpt-x"]
        done = await sdk.embeddings.create(model="e", input="a", encoding_format="float")
        assert done.data[0].embedding == [0.25, 0.5]
    client.upstream.play(reply({"input_tokens": 7}))
    async with claude(client) as sdk:
        assert (await sdk.messages.count_tokens(model="claude-x", messages=ASKED)).input_tokens == 7
    assert await client.sessions() == []
