"""The scripted and the replayed model, prices, and opening a model from a configuration."""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path
from typing import Any

import pytest
from models_kit import PLACE, SHARED, MemoryTrace, ask

from atlas.config.llm import LLMConfig, PriceConfig
from atlas.models import Caller, ChatModel, HttpPool, ReplayModel, ScriptedModel, open_model
from atlas.models.prices import Tariff
from atlas.models.replay import exchanges, read_recordings
from atlas.schema import Completion, Message, Request, ToolCall, ToolSpec, Usage
from atlas.schema.errors import ConfigError, ModelRefused, ModelTimeout, ModelUnavailable

RULES = """
- when: verify
  reply: {accepted: true, guidance: null}
- when: weather
  tool_calls: [{name: look, arguments: {place: Oslo}}]
  reply: It rains.
- reply: I do not know.
"""


async def test_a_list_is_said_in_order_and_then_ends() -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),))
    whole = Completion(message=Message(role="assistant", content="c"), usage=Usage(calls=1, prompt_tokens=3))
    model = ScriptedModel(["a", call, whole, "", ModelUnavailable("down")])
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    first = await model.complete(ask("12345678"), timeout_s=1, on_text=hear)
    assert (first.usage.prompt_tokens, first.usage.completion_tokens, first.usage.cost_usd) == (2, 1, 0.0)
    assert heard == ["a"]
    assert (await model.complete(ask(), timeout_s=1)).finish_reason == "tool_calls"
    assert await model.complete(ask(), timeout_s=1) == whole
    assert (await model.complete(ask(), timeout_s=1)).message.content == ""
    with pytest.raises(ModelUnavailable):
        await model.complete(ask(), timeout_s=1)
    with pytest.raises(ModelRefused, match="no reply left"):
        await model.complete(ask(), timeout_s=1)
    assert len(model.requests) == 6


async def test_a_function_answers_each_request_and_streams_word_by_word() -> None:
    model = ScriptedModel(lambda request: f"you said  {request.messages[-1].content}\n")
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    completion = await model.complete(ask("hi"), timeout_s=1, on_text=hear)
    assert "".join(heard) == completion.message.content == "you said  hi\n"
    assert len(heard) == 3


async def test_a_slow_script_times_out() -> None:
    with pytest.raises(ModelTimeout):
        await ScriptedModel(["a"], delay_s=1).complete(ask(), timeout_s=0.01)


async def test_a_script_file_answers_by_its_first_rule_that_fits(tmp_path: Path, http: HttpPool) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    model = open_model(LLMConfig(provider="scripted", model="rules.yaml"), http, base=tmp_path)
    assert model.name == "scripted:rules.yaml"
    verdict = await model.complete(ask("verify the weather"), timeout_s=1)
    assert json.loads(verdict.message.content) == {"accepted": True, "guidance": None}
    tools = (ToolSpec(name="look"),)
    asked = await model.complete(ask("weather?", tools=tools), timeout_s=1)
    assert asked.message.tool_calls[0].arguments == '{"place": "Oslo"}'
    result = Message(role="tool", content="rain", tool_call_id="call_1")
    request = Request(messages=(*ask("weather?").messages, asked.message, result), tools=tools)
    assert (await model.complete(request, timeout_s=1)).message.content == "It rains."
    assert (await model.complete(ask("else"), timeout_s=1)).message.content == "I do not know."


@pytest.mark.parametrize("text", ["{", "- when: 3", "3", "- reply: a\n  extra: b", "\x00"])
def test_a_broken_script_file_is_named(tmp_path: Path, http: HttpPool, text: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"rules\.yaml is no list of rules"):
        open_model(LLMConfig(provider="scripted", model="rules.yaml"), http, base=tmp_path)


@pytest.mark.parametrize("provider", ["scripted", "replay"])
def test_a_missing_file_is_named(tmp_path: Path, http: HttpPool, provider: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        open_model(LLMConfig(provider=provider, model="nothing.yaml"), http, base=tmp_path)


def test_every_other_provider_is_a_chat_model(http: HttpPool, tmp_path: Path) -> None:
    assert isinstance(open_model(LLMConfig(provider="ollama", model="x"), http, base=tmp_path), ChatModel)
    with pytest.raises(ConfigError, match=r"Unknown llm\.provider"):
        open_model(LLMConfig(provider="nobody", model="x"), http, base=tmp_path)


async def test_a_session_replays_from_its_events(trace: MemoryTrace) -> None:
    caller = Caller(trace)
    model = ScriptedModel(["one", "two"])
    recorded = [await caller.complete(model, ask(), PLACE) for _ in range(2)]
    replay = ReplayModel.from_events(trace.events)
    assert [await replay.complete(ask(), timeout_s=1) for _ in range(3)] == [*recorded, recorded[-1]]
    with pytest.raises(ModelRefused, match="holds no answer to this request, which ends with 'other'"):
        await replay.complete(ask("other"), timeout_s=1)
    with pytest.raises(ModelRefused):
        await replay.complete(ask(temperature=0.1), timeout_s=1)


async def test_a_conversation_replays_under_any_system_text(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
    messages = [
        {"role": "system", "content": "@sys:abc"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call], "usage": {"prompt_tokens": 7}},
        {"role": "tool", "content": "r", "tool_call_id": "c1"},
        {"role": "assistant", "content": "a"},
    ]
    path = tmp_path / "talk.jsonl.xz"
    with lzma.open(path, "wt") as file:
        file.write(json.dumps({"id": "t1", "model": "m", "messages": messages}) + "\n\n")
    (tmp_path / "talk.system.json").write_text('{"abc": "Be brief."}')
    recording = next(read_recordings(path))
    assert recording.turns[0].message.content == "Be brief."
    replay = ReplayModel.from_file(path)
    first = await replay.complete(ask("q"), timeout_s=1)
    assert first.message.tool_calls == (ToolCall(id="c1", name="look", arguments='{"x": 1}'),)
    assert (first.usage.prompt_tokens, first.usage.cost_usd, first.model) == (7, 0.0, "m")
    rest = (Message(role="tool", content="r", tool_call_id="c1"),)
    system = Message(role="system", content="Other.")
    second = await replay.complete(Request(messages=(system, *ask("q").messages, first.message, *rest)), timeout_s=1)
    assert second.message.content == "a"


@pytest.mark.parametrize("line", ["{", "[]", '{"messages": 3}', '{"messages": [{"role": "robot"}]}', "[" * 100_000])
def test_a_line_that_is_no_conversation_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(line)
    with pytest.raises(ConfigError, match=r"talk\.jsonl, line 1 is no recorded conversation"):
        list(read_recordings(path))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl.xz"
    path.write_bytes(lzma.compress(b"{}" * 1000)[:-20])
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_recordings(path))


@pytest.mark.parametrize(
    ("name", "rows", "tools"),
    [("tau2/recorded_simulations.jsonl.xz", 484, True), ("excytin/six_models_inc38_134.jsonl.xz", 408, False)],
)
async def test_real_recordings_replay_turn_by_turn(name: str, rows: int, tools: bool) -> None:
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip(f"the recorded conversations are not there: {path}")
    recordings = list(read_recordings(path))
    assert len(recordings) == rows
    assert any(turn.message.tool_calls for recording in recordings for turn in recording.turns) == tools
    assert not any(turn.message.content.startswith("@sys:") for recording in recordings for turn in recording.turns)
    for recording in recordings[:20]:
        pairs = list(exchanges(recording))
        replay = ReplayModel(pairs)
        for request, completion in pairs:
            assert await replay.complete(request, timeout_s=1) == completion
            assert completion.usage.calls == 1


def usage(prompt: int, cached: int, output: int) -> Usage:
    return Usage(calls=1, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=output)


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-mini"), ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-0"), ("google", "gemini-2.5-pro")],
)
def test_a_known_model_has_its_list_price(provider: str, model: str) -> None:
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    tariff = Tariff(provider, model)
    assert tariff.cost(usage(1, 0, 1)) is None  # not looked up yet
    tariff.resolve()
    for prompt, cached, output in ((1000, 0, 50), (1000, 900, 50), (500_000, 1000, 9)):
        counted = PricedUsage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=output)
        listed = calc_price(counted, model_ref=model, provider_id=provider).total_price
        assert tariff.cost(usage(prompt, cached, output)) == pytest.approx(float(listed))


def test_an_unknown_model_has_no_price() -> None:
    for provider, model in (("openai", "no-such-model"), (None, "gpt-4o")):
        tariff = Tariff(provider, model)
        tariff.resolve()
        assert tariff.cost(usage(10, 0, 10)) is None


def test_the_users_price_wins() -> None:
    tariff = Tariff("openai", "gpt-4o", PriceConfig(input=1, cached=0.1, output=10))
    assert tariff.cost(usage(1_000_000, 500_000, 100_000)) == pytest.approx(0.5 + 0.05 + 1.0)
    assert Tariff(None, "x", PriceConfig(input=1, output=1)).cost(usage(1_000_000, 1_000_000, 0)) == pytest.approx(1.0)


def test_without_list_prices_a_cost_is_unknown_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with caplog.at_level("INFO", logger="atlas.models"):
        for tariff in (Tariff("openai", "gpt-4o"), Tariff("openai", "gpt-4o-mini")):
            tariff.resolve()
            assert tariff.cost(usage(10, 0, 10)) is None
        own = Tariff("openai", "gpt-4o", PriceConfig(input=1, output=1))
        own.resolve()
        assert own.cost(usage(1_000_000, 0, 0)) == pytest.approx(1.0)
    assert [record.message for record in caplog.records if "atlas-loop[prices]" in record.message] == caplog.messages
    assert len(caplog.messages) == 1


async def test_a_price_reaches_the_usage(mock_llm: str, http: HttpPool) -> None:
    price: Any = {"input": 1_000_000, "output": 0}
    config = LLMConfig(provider="openai", model="m", api_base=mock_llm, price=PriceConfig.model_validate(price))
    completion = await ChatModel(config, http).complete(ask("x" * 40), timeout_s=5)
    assert completion.usage.cost_usd == pytest.approx(10.0)
