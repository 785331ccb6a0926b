"""Agents of frameworks, the real packages, driven against a server that speaks the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from agents_kit import MemoryTrace, retried, turn
from aiohttp.test_utils import TestServer
from framework_kit import ModelServer

from atlas.agents import Agent, Gate, StepRequest, Surroundings, agent_of
from atlas.models import Caller, Journal
from atlas.schema.errors import AgentError
from atlas.schema.events import ModelCalled, ToolCalled

Make = Callable[[ModelServer], object]

pytestmark = pytest.mark.filterwarnings("default")  # their own deprecations are theirs to mend


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    running = ModelServer()
    async with TestServer(running.app()) as served:
        running.url = str(served.make_url("/v1"))
        yield running
        for client in clients:
            await client.close()
        clients.clear()


calls: list[int] = []
clients: list[Any] = []


def client_of(server: ModelServer) -> Any:
    """A client of the openai package, closed at the test's end."""
    openai = pytest.importorskip("openai", reason="openai is not installed")
    clients.append(openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0))
    return clients[-1]


def look_up(number: int) -> str:
    """Look an order up.

    Args:
        number: The order's number.
    """
    calls.append(number)
    return f"order {number} is on its way"


def pydantic_ai(server: ModelServer) -> object:
    ai = pytest.importorskip("pydantic_ai", reason="pydantic-ai is not installed")
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("served-model", provider=OpenAIProvider(openai_client=client_of(server)))
    agent = ai.Agent(model, instructions="Be brief.", name="shop")
    agent.tool_plain(look_up)
    return agent


def openai_agents(server: ModelServer, *, chat: bool = True) -> object:
    sdk = pytest.importorskip("agents", reason="openai-agents is not installed")
    sdk.set_tracing_disabled(True)
    kind = sdk.OpenAIChatCompletionsModel if chat else sdk.OpenAIResponsesModel
    model = kind(model="served-model", openai_client=client_of(server))
    return sdk.Agent(name="shop", instructions="Be brief.", model=model, tools=[sdk.function_tool(look_up)])


def openai_responses(server: ModelServer) -> object:
    return openai_agents(server, chat=False)


def langchain(server: ModelServer) -> object:
    pytest.importorskip("langchain", reason="langchain is not installed")
    pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    client = client_of(server).chat.completions
    model = ChatOpenAI(model="served-model", api_key="k", async_client=client, client=object(), max_retries=0)  # pyright: ignore
    return create_agent(model, tools=[look_up], system_prompt="Be brief.", name="shop")


def smolagents(server: ModelServer) -> object:
    smol = pytest.importorskip("smolagents", reason="smolagents is not installed")
    pytest.importorskip("openai", reason="openai is not installed")
    model = smol.OpenAIServerModel("served-model", api_base=server.url, api_key="k")
    return smol.ToolCallingAgent(tools=[smol.tool(look_up)], model=model, name="shop", verbosity_level=0)


MAKERS: dict[str, Make] = {
    "pydantic-ai": pydantic_ai,
    "openai-agents": openai_agents,
    "openai-agents over responses": openai_responses,
    "langchain": langchain,
}


def adapted(made: object, gate: Gate | None = None) -> Agent:
    return agent_of(made, Surroundings(gate or Gate()), where="test")


@pytest.mark.parametrize("name", MAKERS)
async def test_its_calls_are_on_record(name: str, server: ModelServer, caller: Caller, trace: MemoryTrace) -> None:
    agent = adapted(MAKERS[name](server))
    calls.clear()
    output = await agent.act(turn(prompt="Where is order 7?"), caller)
    assert output.text == "The tool said: order 7 is on its way"
    assert calls == [7]
    assert agent.abilities.traces
    (use,) = output.tools
    assert (use.call.name, use.output.strip('"')) == ("look_up", "order 7 is on its way")
    assert '"number"' in use.call.arguments
    models = [event.body for event in trace.events if isinstance(event.body, ModelCalled)]
    assert len(models) == len(server.bodies) == 2
    assert (models[0].completion.usage.prompt_tokens, models[0].completion.usage.completion_tokens) == (30, 6)
    assert models[0].completion.usage.cached_tokens == 10
    assert models[0].completion.message.tool_calls[0].name == "look_up"
    assert models[0].request.messages[-1].content == "Where is order 7?"
    assert models[1].completion.message.content == output.text
    assert models[1].request.messages[-1].role == "tool"
    assert trace.types.count("tool_called") == 1


@pytest.mark.parametrize("name", [*MAKERS, "smolagents"])
async def test_guidance_and_playbook_reach_its_model(name: str, server: ModelServer, caller: Caller) -> None:
    make = smolagents if name == "smolagents" else MAKERS[name]
    if name == "smolagents":
        server.tool, server.arguments = "final_answer", {"answer": "done"}
    await adapted(make(server)).act(retried("- count twice"), caller)
    sent = str(server.bodies[0])
    assert "it is even." in sent
    assert "- count twice" in sent


@pytest.mark.parametrize("name", ["pydantic-ai", "openai-agents"])
async def test_its_tools_are_steps(name: str, server: ModelServer, caller: Caller, trace: MemoryTrace) -> None:
    made = MAKERS[name](server)
    assert adapted(made).abilities.level == "result + traces + injection + steps"
    calls.clear()
    await adapted(made).act(turn(), caller)
    again = MemoryTrace()
    output = await adapted(made).act(turn(), Caller(again, journal=Journal(trace.events)))
    assert output.text == "The tool said: order 7 is on its way"
    assert calls == [7]
    asked: list[StepRequest] = []

    def refuse(step: StepRequest) -> str:
        asked.append(step)
        return "not today"

    held = MemoryTrace()
    with suppress(AgentError):  # one framework tells its model of the refusal, the other ends the run
        await adapted(made, Gate(refuse)).act(turn(), Caller(held))
    assert calls == [7]
    assert [step.name for step in asked] == ["look_up"]
    (use,) = [event.body.use for event in held.events if isinstance(event.body, ToolCalled)]
    assert "not today" in (use.error or "")


async def test_smolagents_tells_each_action(server: ModelServer, caller: Caller, trace: MemoryTrace) -> None:
    server.turns = [("look_up", {"number": 7}), ("final_answer", {"answer": "on its way"})]
    calls.clear()
    output = await adapted(smolagents(server)).act(turn(prompt="Where is order 7?"), caller)
    assert (output.text, calls) == ("on its way", [7])
    assert trace.types == ["model_called", "tool_called", "model_called"]
    (use,) = output.tools
    assert (use.call.name, use.call.arguments) == ("look_up", '{"number":7}')
    assert "order 7 is on its way" in use.output
    first = next(event.body for event in trace.events if isinstance(event.body, ModelCalled))
    assert first.completion.usage.prompt_tokens == 30


@pytest.mark.parametrize("name", MAKERS)
async def test_a_model_that_is_down_is_the_agents_failure(name: str, server: ModelServer, caller: Caller) -> None:
    server.url = "http://127.0.0.1:9/v1"
    agent = adapted(MAKERS[name](server))
    with pytest.raises(AgentError, match="raised"):
        await agent.act(turn(timeout_s=20), caller)
