"""The chat client against a server that misbehaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from email.utils import format_datetime

import pytest
from aiohttp import web
from models_kit import FaultServer, Sleeper, ask, reply, reset, said, stream

from atlas.config.llm import LLMConfig
from atlas.models import ChatModel, HttpPool
from atlas.schema import now
from atlas.schema.errors import ConfigError, ModelBadReply, ModelRefused, ModelTimeout, ModelUnavailable

Make = Callable[..., ChatModel]
KEY = "sk-secret-0123456789"


async def hear(text: str) -> None:
    """Somebody listens."""


async def test_retry_after_is_honoured(server: FaultServer, chat: Make, sleeper: Sleeper) -> None:
    server.play(reply({"error": "slow"}, 429, Retry_After="7"), reply(said("42")))
    completion = await chat(timeout_seconds=30).complete(ask(), timeout_s=30)
    assert completion.message.content == "42"
    assert sleeper.pauses == [7.0]


async def test_retry_after_may_be_a_date(server: FaultServer, chat: Make, sleeper: Sleeper) -> None:
    date = format_datetime(now().replace(microsecond=0), usegmt=True)
    server.play(reply("", 503, Retry_After=date), reply(said("42")))
    await chat().complete(ask(), timeout_s=30)
    assert sleeper.pauses == [0.0]


async def test_a_wait_beyond_the_deadline_is_not_begun(server: FaultServer, chat: Make, sleeper: Sleeper) -> None:
    server.play(reply("", 429, Retry_After="3600"))
    with pytest.raises(ModelUnavailable, match="after the deadline") as caught:
        await chat().complete(ask(), timeout_s=30)
    assert sleeper.pauses == []
    assert caught.value.retry_after_s == 3600


async def test_server_errors_are_tried_again_with_growing_pauses(
    server: FaultServer, chat: Make, sleeper: Sleeper
) -> None:
    server.play(reply("", 500), reply("<html>bad gateway</html>", 502), reply(said("42")))
    assert (await chat().complete(ask(), timeout_s=30)).message.content == "42"
    assert sleeper.pauses == [0.5, 1.0]  # half of 1 and of 2: the jitter of this clock is 0


async def test_retries_end(server: FaultServer, chat: Make) -> None:
    server.play(reply({"error": {"message": "overloaded"}}, 529))
    with pytest.raises(ModelUnavailable, match=r"openai:gpt-4o answered 529: overloaded \(3 tries\)"):
        await chat().complete(ask(), timeout_s=30)
    assert len(server.bodies) == 3


async def test_a_connection_that_breaks_is_tried_again(server: FaultServer, chat: Make) -> None:
    server.play(reset, reply(said("42")))
    assert (await chat().complete(ask(), timeout_s=30)).message.content == "42"


async def test_a_dead_endpoint_is_named(http: HttpPool, sleeper: Sleeper) -> None:
    config = LLMConfig(provider="vllm", model="m", api_base="http://127.0.0.1:9/v1")
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1 cannot be reached"):
        await ChatModel(config, http, pace=sleeper.pace).complete(ask(), timeout_s=5)


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "OTHER_KEY"), (403, "OTHER_KEY"), (404, "llm.model"), (400, "parameters")]
)
async def test_a_refusal_names_its_remedy_and_never_the_key(
    server: FaultServer, chat: Make, monkeypatch: pytest.MonkeyPatch, status: int, remedy: str
) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY + "\n")

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": f"no\n{request.headers['Authorization']}"}}, status=status)

    server.play(echo)
    with pytest.raises(ModelRefused) as caught:
        await chat(api_key_env="OTHER_KEY").complete(ask(), timeout_s=5)
    assert len(server.bodies) == 1
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_the_key_is_taken_out_of_a_broken_reply(
    server: FaultServer, chat: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    server.play(reply(f"<html>{KEY}</html>"))
    with pytest.raises(ModelBadReply) as caught:
        await chat(api_key_env="OTHER_KEY").complete(ask(), timeout_s=5)
    assert KEY not in str(caught.value) + caught.value.text


async def test_a_spent_quota_is_not_tried_again(server: FaultServer, chat: Make) -> None:
    server.play(reply({"error": {"message": "You exceeded", "code": "insufficient_quota"}}, 429))
    with pytest.raises(ModelRefused, match="quota"):
        await chat().complete(ask(), timeout_s=5)
    assert len(server.bodies) == 1


async def test_a_redirect_is_not_followed(server: FaultServer, chat: Make) -> None:
    server.play(reply("", 307, Location="https://evil.example/v1"))
    with pytest.raises(ModelRefused, match=r"redirects to evil\.example"):
        await chat().complete(ask(), timeout_s=5)


async def test_a_slow_drip_ends_at_the_deadline(server: FaultServer, chat: Make) -> None:
    drip = b'data: {"choices": [{"delta": {"content": "."}}]}\n\n'
    server.play(stream(*[drip] * 100, pause_s=0.02))
    started = time.monotonic()
    with pytest.raises(ModelTimeout, match=r"within 0\.3 s"):
        await chat().complete(ask(), timeout_s=0.3, on_text=hear)
    assert time.monotonic() - started < 1.0


async def test_the_configured_timeout_bounds_the_callers(server: FaultServer, chat: Make) -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(0.4)
        return web.Response()

    server.play(hang)
    with pytest.raises(ModelTimeout, match=r"within 0\.1 s"):
        await chat(timeout_seconds=0.1).complete(ask(), timeout_s=60)


async def test_a_cut_stream_is_tried_again_while_nothing_was_heard(server: FaultServer, chat: Make) -> None:
    server.play(stream(b": hello\n\n", cut=True), reply(said("42")))
    assert (await chat().complete(ask(), timeout_s=5, on_text=hear)).message.content == "42"


async def test_a_cut_stream_is_not_tried_again_once_text_was_heard(server: FaultServer, chat: Make) -> None:
    first = b'data: {"choices": [{"delta": {"content": "The"}}]}\n\n'
    server.play(stream(first, pause_s=0.02, cut=True), reply(said("42")))
    with pytest.raises(ModelUnavailable, match="broke off"):
        await chat().complete(ask(), timeout_s=5, on_text=hear)
    assert len(server.bodies) == 1


async def test_a_stream_that_ends_without_a_word_of_why_is_broken(server: FaultServer, chat: Make) -> None:
    server.play(stream(b'data: {"choices": [{"delta": {"content": "The"}}]}\n\n'))
    with pytest.raises(ModelUnavailable, match="middle of a stream"):
        await chat().complete(ask(), timeout_s=5, on_text=hear)


async def test_a_line_of_a_hundred_kilobytes_is_read(server: FaultServer, chat: Make) -> None:
    text = "x" * 100_000
    long = b"data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}).encode()
    server.play(stream(long[:70_000], long[70_000:], b"\n\ndata: [DONE]\n\n"))
    assert (await chat().complete(ask(), timeout_s=5, on_text=hear)).message.content == text


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        '{"choices": []}',
        '{"choices": 3}',
        '{"choices": [{"message": {"content": 3}}]}',
        '{"choices": [{"message": {"tool_calls": [{"id": "x"}]}}]}',
        '{"error": {"message": "it broke"}}',
        "[" * 100_000,
    ],
)
async def test_a_reply_outside_the_protocol_is_no_answer(server: FaultServer, chat: Make, body: str) -> None:
    server.play(reply(body))
    with pytest.raises(ModelBadReply) as caught:
        await chat().complete(ask(), timeout_s=5)
    assert "\n" not in str(caught.value)
    assert len(server.bodies) == 1


async def test_an_error_inside_a_good_status_is_that_error(server: FaultServer, chat: Make) -> None:
    server.play(reply({"error": {"code": 429, "message": "slow"}}), reply(said("42")))
    assert (await chat().complete(ask(), timeout_s=5)).message.content == "42"
    server.play(stream(b'data: {"error": {"code": 401, "message": "bad key"}}\n\n'))
    with pytest.raises(ModelRefused, match="bad key"):
        await chat().complete(ask(), timeout_s=5, on_text=hear)


async def test_structured_output_steps_down_once_and_for_all(server: FaultServer, chat: Make) -> None:
    def refuse(word: str) -> str:
        return json.dumps({"error": {"message": f"'response_format.type': {word} is not available"}})

    server.play(reply(refuse("json_schema"), 400), reply(refuse("json_object"), 400), reply(said("{}")))
    model, schema = chat(), {"type": "object"}
    await model.complete(ask(json_schema=schema), timeout_s=5)
    await model.complete(ask(json_schema=schema), timeout_s=5)
    formats = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert formats == ["json_schema", "json_object", None, None]


async def test_calls_at_once_step_down_together(server: FaultServer, chat: Make) -> None:
    async def picky(request: web.Request) -> web.Response:
        body = await request.json()
        await asyncio.sleep(0.01)
        if body.get("response_format", {}).get("type") == "json_schema":
            return web.json_response({"error": {"message": "json_schema is not supported"}}, status=400)
        return web.json_response(said("{}"))

    server.play(picky)
    model = chat()
    await asyncio.gather(*(model.complete(ask(json_schema={"type": "object"}), timeout_s=5) for _ in range(20)))
    assert {body["response_format"]["type"] for body in server.bodies} == {"json_schema", "json_object"}


async def test_a_parameter_the_model_does_not_know_is_left_out(server: FaultServer, chat: Make) -> None:
    server.play(
        reply({"error": {"message": "Unsupported value: 'temperature' does not support 0."}}, 400),
        reply({"error": {"message": "'max_tokens' is not supported; use 'max_completion_tokens'."}}, 400),
        reply(said("42")),
    )
    model = chat()
    await model.complete(ask(temperature=0.0, max_output_tokens=5), timeout_s=5)
    assert server.bodies[-1]["max_completion_tokens"] == 5
    assert "temperature" not in server.bodies[-1]
    assert "max_tokens" not in server.bodies[-1]


async def test_other_bad_requests_are_not_tried_again(server: FaultServer, chat: Make) -> None:
    server.play(reply({"error": {"message": "context length exceeded"}}, 400))
    with pytest.raises(ModelRefused, match="context length"):
        await chat().complete(ask(temperature=0.0, json_schema={"type": "object"}), timeout_s=5)
    assert len(server.bodies) == 1


async def test_a_cancelled_call_stays_cancelled(server: FaultServer, chat: Make) -> None:
    server.play(stream(*[b": \n\n"] * 50, pause_s=0.02))
    task = asyncio.create_task(chat().complete(ask(), timeout_s=5, on_text=hear))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_default_key_never_leaves_its_host(http: HttpPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for base in ("https://other.example/v1", "http://api.openai.com/v1", "https://api.openai.com:8443/v1"):
        with pytest.raises(ConfigError, match="OPENAI_API_KEY is not sent") as caught:
            ChatModel(LLMConfig(provider="openai", model="m", api_base=base), http)
        assert KEY not in str(caught.value)
    local = ChatModel(LLMConfig(provider="openai", model="m", api_base="http://localhost:1/v1"), http)
    assert "Authorization" not in local._endpoint.headers
    own = ChatModel(LLMConfig(provider="openai", model="openai/gpt-4o"), http)
    assert own.name == "openai:gpt-4o"
    assert own._endpoint.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(own._endpoint)
    free = LLMConfig(provider="openai", model="m", api_base="https://other.example/v1", api_key_env="")
    assert "Authorization" not in ChatModel(free, http)._endpoint.headers


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"provider": "openai"}, "OPENAI_API_KEY is not set"),
        ({"provider": "vllm", "api_key_env": "NOT_THERE"}, "NOT_THERE is not set"),
        ({"provider": "openia"}, "Unknown llm.provider 'openia'"),
        ({"provider": "vllm", "api_base": "localhost:8000"}, "not an http"),
        ({"provider": "vllm", "api_base": "http://[::1"}, "not an http"),
        ({"provider": "vllm", "api_base": "http://me:pw@host/v1"}, "user name or password"),
        ({"provider": "vllm", "headers": {"X": "${NOT_THERE}"}}, "NOT_THERE is not set"),
        ({"provider": "vllm", "headers": {"X": "a\r\nY: b"}}, "control character"),
        ({"provider": "vllm", "api_key_env": "BROKEN_KEY"}, "character that no key has"),
    ],
)
def test_a_wrong_configuration_is_found_before_anything_is_sent(
    http: HttpPool, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], match: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("BROKEN_KEY", "a\nb")
    with pytest.raises(ConfigError, match=match):
        ChatModel(LLMConfig.model_validate({"model": "m"} | fields), http)
