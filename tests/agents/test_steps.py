"""`ctx` in the hands of a user's function: steps that are recorded, gated, tried again, and not done twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents_kit import MemoryTrace, multiply, retried, turn

from atlas.agents import AgentContext, Gate, ModelAgent, PythonAgent, StepRequest, Surroundings, Tool, agent_of
from atlas.models import Caller, Journal, ScriptedModel
from atlas.schema import Message, ToolCall
from atlas.schema.errors import AgentError, ConfigError, StoreError, ToolError
from atlas.schema.events import Body, ToolCalled


def add(a: int, b: int) -> int:
    return a + b


async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


def sync_agent(prompt: str, ctx: AgentContext) -> str:
    return str(ctx.step("add", add, {"a": 40, "b": 2}, effects="none"))


async def async_agent(prompt: str, ctx: AgentContext) -> str:
    return str(await ctx.step("add", add_later, {"a": 40, "b": 2}, effects="none"))


@pytest.mark.parametrize("agent", [sync_agent, async_agent])
async def test_a_step_is_recorded_and_shown_to_the_reviewer(agent: Any, caller: Caller, trace: MemoryTrace) -> None:
    output = await PythonAgent(agent).act(turn(), caller)
    assert output.text == "42"
    (use,) = output.tools
    assert (use.call.name, use.call.arguments, use.output) == ("add", '{"a": 40, "b": 2}', "42")
    assert trace.types == ["tool_called"]


async def test_an_async_agent_keeps_its_own_event_loop() -> None:
    mine = asyncio.get_running_loop()
    seen: list[bool] = []

    async def inner() -> int:
        seen.append(asyncio.get_running_loop() is mine)
        return 42

    async def agent(prompt: str, ctx: AgentContext) -> str:
        seen.append(asyncio.get_running_loop() is mine)
        return str(await ctx.step("inner", inner))

    def elsewhere() -> str:
        made = PythonAgent(agent, loop=mine)
        return asyncio.run(made.act(turn(), Caller(MemoryTrace()))).text

    assert await asyncio.to_thread(elsewhere) == "42"
    assert seen == [True, True]


async def test_a_resumed_session_does_not_take_a_step_twice(caller: Caller, trace: MemoryTrace) -> None:
    paid: list[int] = []

    def agent(prompt: str, ctx: AgentContext) -> str:
        receipt = ctx.step("pay", lambda amount: paid.append(amount) or {"ok": amount}, {"amount": 5})
        return f"paid {receipt['ok']}"

    first = await PythonAgent(agent).act(turn(), caller)
    assert trace.types == ["tool_started", "tool_called"]
    again = Caller(MemoryTrace(), journal=Journal(trace.events))
    second = await PythonAgent(agent).act(turn(), again)
    assert (first.text, second.text, paid) == ("paid 5", "paid 5", [5])


async def test_a_step_that_was_cut_off_is_not_taken_again(trace: MemoryTrace, caller: Caller) -> None:
    def agent(prompt: str, ctx: AgentContext) -> str:
        return str(ctx.step("pay", lambda: "paid"))

    await PythonAgent(agent).act(turn(), caller)
    cut = Journal(trace.events[:1])
    with pytest.raises(AgentError, match="whether it took effect is unknown"):
        await PythonAgent(agent).act(turn(), Caller(MemoryTrace(), journal=cut))


async def test_a_step_is_tried_again_only_if_it_may_be(caller: Caller, trace: MemoryTrace) -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("down")
        return "up"

    def agent(prompt: str, ctx: AgentContext) -> str:
        return ctx.step("flaky", flaky, effects="idempotent", retries=2)

    assert (await PythonAgent(agent).act(turn(), caller)).text == "up"
    assert (len(tries), trace.types) == (3, ["tool_called"])
    with pytest.raises(AgentError, match="may not be done twice"):
        await PythonAgent(lambda prompt, ctx: ctx.step("x", flaky, retries=1)).act(turn(), caller)


async def test_a_step_that_fails_is_on_record_and_can_be_caught(caller: Caller, trace: MemoryTrace) -> None:
    def fail() -> str:
        raise ValueError("no\nluck")

    def agent(prompt: str, ctx: AgentContext) -> str:
        try:
            return ctx.step("fail", fail)
        except ToolError as error:
            return f"sorry: {error}"

    output = await PythonAgent(agent).act(turn(), caller)
    assert output.text == "sorry: fail raised ValueError: no luck"
    assert output.tools[0].error == "fail raised ValueError: no luck"
    with pytest.raises(AgentError, match="raised ToolError: fail raised"):
        await PythonAgent(lambda prompt, ctx: ctx.step("fail", fail)).act(turn(), caller)


async def test_arguments_and_results_are_json(caller: Caller) -> None:
    with pytest.raises(AgentError, match="arguments of step x are no JSON"):
        await PythonAgent(lambda prompt, ctx: ctx.step("x", print, {"a": object()})).act(turn(), caller)
    with pytest.raises(AgentError, match="PydanticSerializationError"):
        await PythonAgent(lambda prompt, ctx: ctx.step("x", object)).act(turn(), caller)
    output = await PythonAgent(lambda prompt, ctx: ctx.step("x", lambda: (1, {"b": None}))).act(turn(), caller)
    assert output.text == '[1, {"b": null}]'


async def test_what_is_emitted_is_heard_while_the_work_goes_on(caller: Caller) -> None:
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    def agent(prompt: str, ctx: AgentContext) -> str:
        ctx.emit("thinking")
        return "42"

    async def agent_later(prompt: str, ctx: AgentContext) -> str:
        await ctx.emit("…")
        return "42"

    await PythonAgent(agent).act(turn(), caller, on_text=hear)
    await PythonAgent(agent_later).act(turn(), caller, on_text=hear)
    await PythonAgent(agent).act(turn(), caller)
    assert heard == ["thinking", "…"]


async def test_the_budget_is_what_is_left(trace: MemoryTrace) -> None:
    def agent(prompt: str, ctx: AgentContext) -> str:
        return f"{ctx.budget.tokens} {0 < ctx.budget.seconds <= 3}"

    assert (await PythonAgent(agent).act(turn(timeout_s=3), Caller(trace, max_tokens=90))).text == "90 True"
    assert (await PythonAgent(agent).act(turn(timeout_s=3), Caller(trace))).text == "None True"


async def test_a_record_that_cannot_be_written_is_not_the_functions_fault() -> None:
    class BrokenTrace(MemoryTrace):
        async def record(self, body: Body) -> Any:
            raise StoreError("The disk is full.")

    with pytest.raises(StoreError, match="disk is full"):
        await PythonAgent(sync_agent).act(turn(), Caller(BrokenTrace()))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (False, "the gate refused it$"),
        ("not on Sundays", "refused it: not on Sundays"),
        (ValueError("x"), "gate raised"),
    ],
)
async def test_a_gate_holds_back_steps_and_tools(said: object, reason: str, trace: MemoryTrace) -> None:
    asked: list[StepRequest] = []
    done: list[int] = []

    async def decide(step: StepRequest) -> object:
        asked.append(step)
        if isinstance(said, Exception):
            raise said
        return said

    def agent(prompt: str, ctx: AgentContext) -> str:
        try:
            return ctx.step("pay", done.append, {"object": 5})
        except ToolError as error:
            return str(error)

    import re

    output = await PythonAgent(agent, gate=Gate(decide)).act(turn(), Caller(trace))
    assert re.search(reason, output.text)
    script = ScriptedModel(
        [Message(role="assistant", tool_calls=(ToolCall(id="1", name="multiply", arguments='{"a": 3}'),)), "ok"]
    )
    output = await ModelAgent(script, tools=[Tool(multiply)], gate=Gate(decide)).act(turn(), Caller(MemoryTrace()))
    assert re.search(reason, output.tools[0].error or "")
    assert not done
    assert [(step.name, step.effect) for step in asked] == [("pay", "external"), ("multiply", "none")]
    assert [body.use.error is not None for e in trace.events if isinstance(body := e.body, ToolCalled)] == [True]


@pytest.mark.parametrize("said", [True, None])
async def test_a_gate_lets_pass(said: object, caller: Caller) -> None:
    output = await PythonAgent(sync_agent, gate=Gate(lambda step: said)).act(turn(), caller)
    assert output.text == "42"


async def test_abilities_are_told_by_the_signature() -> None:
    assert PythonAgent(sync_agent).abilities.level == "result + traces + injection + steps"
    assert PythonAgent(lambda prompt: prompt).abilities.level == "result + injection"


async def test_the_context_is_guidance_and_playbook(caller: Caller) -> None:
    output = await PythonAgent(lambda prompt, ctx: ctx.context or "nothing").act(turn(), caller)
    assert output.text == "nothing"
    output = await PythonAgent(lambda prompt, ctx: ctx.context).act(retried("- count twice"), caller)
    assert output.text == "A reviewer found a problem: it is even.\n\nPlaybook:\n- count twice"


@pytest.mark.parametrize("error", [TypeError("x"), None])
async def test_a_factory_that_takes_nothing_is_called_once(error: Exception | None, caller: Caller) -> None:
    made: list[int] = []

    def factory() -> Any:
        made.append(1)
        if error:
            raise error
        return lambda prompt: prompt.upper()

    if error:
        with pytest.raises(ConfigError, match="cannot be made: TypeError: x"):
            agent_of(factory, Surroundings(), where="app:factory")
        return
    agent = agent_of(factory, Surroundings(), where="app:factory")
    assert [(await agent.act(turn(prompt=word), caller)).text for word in ("a", "b")] == ["A", "B"]
    assert made == [1]


@pytest.mark.parametrize("made", [None, "text", 3])
def test_what_is_no_agent_is_named(made: object) -> None:
    with pytest.raises(ConfigError, match="app:thing"):
        agent_of(lambda: made, Surroundings(), where="app:thing")
    with pytest.raises(ConfigError, match="app:thing is not callable"):
        agent_of(made, Surroundings(), where="app:thing")


def test_an_agent_of_our_own_socket_is_taken_as_it_is() -> None:
    own = ModelAgent(ScriptedModel([]))
    assert agent_of(own, Surroundings(), where="x") is own
