"""A model with tools."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from agents_kit import MemoryTrace, multiply, turn

from atlas.agents import ModelAgent, Tool
from atlas.models import Caller, Journal, ScriptedModel
from atlas.schema import Completion, Message, Request, ToolCall
from atlas.schema.chat import FinishReason
from atlas.schema.errors import AgentError, ConfigError, ModelBadReply, ModelTimeout, ModelUnavailable, StoreError
from atlas.schema.events import Degraded


def call(name: str, arguments: Any, number: int = 1) -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id=f"c{number}", name=name, arguments=text)


def calls(*asked: ToolCall) -> Message:
    return Message(role="assistant", tool_calls=asked)


async def test_tools_run_until_the_final_words(caller: Caller, trace: MemoryTrace) -> None:
    model = ScriptedModel([calls(call("multiply", {"a": 6, "b": 7})), "42"])
    asked = turn(Message(role="system", content="Role."), Message(role="user", content="6 x 7"))
    agent = ModelAgent(model, system_prompt="You are mine.", tools=[Tool(multiply)])
    output = await agent.act(asked, caller)
    assert output.text == "42"
    assert [(use.output, use.error) for use in output.tools] == [("42", None)]
    assert output.messages[:2] == asked.messages  # without the user's own prompt, so that a retry adds it once
    assert [message.role for message in output.messages] == ["system", "user", "assistant", "tool", "assistant"]
    first, second = model.requests
    assert first.messages[0].content == "You are mine.\n\nRole."
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[-1] == Message(role="tool", content="42", tool_call_id="c1")
    assert first.tools == second.tools == (Tool(multiply).spec,)
    assert trace.types == ["model_called", "tool_called", "model_called"]


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (call("multiply", "{"), "not one JSON object"),
        (call("multiply", "[1]"), "not an object"),
        (call("multiply", {"a": "six"}), "a: Input should be a valid integer"),
        (call("multiply", {"a": "6"}), "a: Input should be a valid integer"),
        (call("multiply", {}), "a: Field required"),
        (call("multiply", {"a": 1, "c": 2}), "c: Extra inputs"),
        (call("divide", {"a": 1}), "There is no tool 'divide'. There are: multiply."),
    ],
)
async def test_a_call_that_cannot_be_made_is_an_error_the_model_sees(
    caller: Caller, asked: ToolCall, problem: str
) -> None:
    model = ScriptedModel([calls(asked), "sorry"])
    output = await ModelAgent(model, tools=[Tool(multiply)]).act(turn(), caller)
    assert output.text == "sorry"
    assert model.requests[1].messages[-1].content.startswith("error: ")
    assert problem in model.requests[1].messages[-1].content
    assert output.tools[0].error is not None


async def test_calls_of_one_reply_run_at_once_and_answer_in_order(caller: Caller) -> None:
    gate = asyncio.Barrier(3)

    async def wait(name: str) -> str:
        await gate.wait()  # passes only when all three are here
        return name

    model = ScriptedModel([calls(*(call("wait", {"name": name}, i) for i, name in enumerate("abc"))), "done"])
    output = await ModelAgent(model, tools=[Tool(wait)]).act(turn(timeout_s=5), caller)
    assert [use.output for use in output.tools] == ["a", "b", "c"]
    assert [message.tool_call_id for message in model.requests[1].messages[-3:]] == ["c0", "c1", "c2"]


async def test_rounds_end(caller: Caller, trace: MemoryTrace) -> None:
    model = ScriptedModel(lambda _: calls(call("multiply", {"a": 1})))
    with pytest.raises(AgentError, match="called tools 3 times and still gave no answer"):
        await ModelAgent(model, tools=[Tool(multiply)], max_tool_rounds=3).act(turn(), caller)
    assert trace.types.count("model_called") == 4
    assert trace.types.count("tool_called") == 3


async def test_a_tool_that_must_be_called_is_demanded_once(caller: Caller) -> None:
    model = ScriptedModel([calls(call("multiply", {"a": 1})), "2"])
    await ModelAgent(model, tools=[Tool(multiply)], tool_choice="required").act(turn(), caller)
    assert [request.tool_choice for request in model.requests] == ["required", "auto"]


async def test_no_tools_where_they_are_not_allowed(caller: Caller) -> None:
    model = ScriptedModel(["42"])
    await ModelAgent(model, tools=[Tool(multiply)]).act(turn(tools_allowed=False, max_output_tokens=5), caller)
    assert model.requests[0].tools == ()
    assert model.requests[0].max_output_tokens == 5


async def test_a_turn_with_a_schema_gives_one_json_object(caller: Caller) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    model = ScriptedModel(["n is 1", '```json\n{"n": 1}\n```', "x", "y"])
    agent = ModelAgent(model, tools=[Tool(multiply)])
    output = await agent.act(turn(json_schema=schema), caller)
    assert json.loads(output.text) == {"n": 1}
    assert output.messages[-1].content == output.text
    assert model.requests[0].tools == ()
    with pytest.raises(ModelBadReply):
        await agent.act(turn(json_schema=schema), caller)


async def test_a_tool_that_hangs_is_cut_at_the_turns_end(caller: Caller) -> None:
    async def hang() -> str:
        await asyncio.sleep(60)
        return ""

    model = ScriptedModel([calls(call("hang", {})), "too late"])
    started = time.monotonic()
    with pytest.raises(AgentError, match=r"did not finish its turn within 0\.1 s"):
        await ModelAgent(model, tools=[Tool(hang)]).act(turn(timeout_s=0.1), caller)
    assert time.monotonic() - started < 1


async def test_a_failing_model_is_the_turns_failure(caller: Caller) -> None:
    with pytest.raises(ModelUnavailable):
        await ModelAgent(ScriptedModel([ModelUnavailable("down")])).act(turn(), caller)
    with pytest.raises(ModelTimeout):
        await ModelAgent(ScriptedModel(["a"], delay_s=5)).act(turn(timeout_s=0.05), caller)


async def test_a_record_that_cannot_be_written_ends_the_turn_and_the_other_tools() -> None:
    ended: list[str] = []

    async def slow() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")
        return ""

    class BrokenTrace(MemoryTrace):
        async def record(self, body: Any) -> Any:
            if body.type == "tool_called":
                raise StoreError("The disk is full.")
            return await super().record(body)

    model = ScriptedModel([calls(call("slow", {}), call("multiply", {"a": 1}, 2)), "x"])
    agent = ModelAgent(model, tools=[Tool(slow), Tool(multiply)])
    with pytest.raises(StoreError, match="disk is full"):
        await agent.act(turn(timeout_s=5), Caller(BrokenTrace()))
    assert ended == ["slow"]


async def test_a_resumed_turn_repeats_neither_model_nor_tool(trace: MemoryTrace) -> None:
    runs: list[int] = []

    def pay(amount: int) -> str:
        runs.append(amount)
        return "paid"

    def script(request: Request) -> str | Message:
        return "done" if request.messages[-1].role == "tool" else calls(call("pay", {"amount": 5}))

    before = await ModelAgent(ScriptedModel(script), tools=[Tool(pay)]).act(turn(), Caller(trace))
    model = ScriptedModel([])
    resumed = Caller(trace, journal=Journal(trace.events))
    assert await ModelAgent(model, tools=[Tool(pay)]).act(turn(), resumed) == before
    assert (runs, model.requests) == ([5], [])


def test_two_tools_cannot_have_one_name() -> None:
    with pytest.raises(ConfigError, match="same name"):
        ModelAgent(ScriptedModel([]), tools=[Tool(multiply), Tool(multiply)])


async def test_its_face() -> None:
    agent = ModelAgent(ScriptedModel([], name="scripted:x"))
    assert (agent.name, agent.plans) == ("scripted:x", True)
    await agent.close()
    await agent.close()


class CutShort(ScriptedModel):
    """A model whose provider ends every reply early."""

    def __init__(self, reason: FinishReason) -> None:
        super().__init__(["half an answ"])
        self.reason: FinishReason = reason

    async def complete(self, *given: Any, **named: Any) -> Completion:
        completion = await super().complete(*given, **named)
        return completion.model_copy(update={"finish_reason": self.reason})


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content filter")])
async def test_an_answer_that_was_cut_short_says_so(
    caller: Caller, trace: MemoryTrace, reason: FinishReason, why: str
) -> None:
    output = await ModelAgent(CutShort(reason)).act(turn(Message(role="user", content="tell")), caller)
    assert output.text == "half an answ"
    degraded = [event.body for event in trace.events if isinstance(event.body, Degraded)]
    assert [lack.what for lack in degraded] == ["the answer is cut off"]
    assert why in degraded[0].failure.message
