"""Agents of the OpenAI Agents SDK (`openai-agents`, module `agents`)."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false
# Types of a package that need not be there.

from __future__ import annotations

import dataclasses
import json
from typing import Any

from atlas.agents.adapting import Surroundings
from atlas.agents.base import Abilities
from atlas.agents.frameworks.playing import Desktop, FrameworkAgent, Heard, plain
from atlas.schema import Message, ToolCall, Usage


def adapt(agent: Any, around: Surroundings) -> FrameworkAgent:
    """The agent, run by the SDK's own runner.

    Model calls are recorded by its hooks. Function tools become steps; where it hands off to others, whose tools are
    not wrapped, tool calls are recorded by the hooks as well and no step can be held back.
    """
    alone = not agent.handoffs and not agent.mcp_servers

    async def play(desktop: Desktop) -> object:
        from agents import Runner

        mine = _stepping(agent, desktop) if alone else agent
        result = await Runner.run(mine, desktop.prompt, hooks=_hooks(desktop, tools=not alone))
        return result.final_output

    return FrameworkAgent(f"openai-agents:{agent.name}", play, around, Abilities(traces=True, steps=alone))


def _stepping(agent: Any, desktop: Desktop) -> Any:
    """A copy of the agent whose function tools are steps."""
    from agents import FunctionTool

    def wrapped(tool: FunctionTool) -> FunctionTool:
        invoke = tool.on_invoke_tool

        async def step(context: Any, arguments: str) -> Any:
            return await desktop.step(tool.name, arguments or "{}", lambda: invoke(context, arguments))

        return dataclasses.replace(tool, on_invoke_tool=step)

    return agent.clone(tools=[wrapped(each) if isinstance(each, FunctionTool) else each for each in agent.tools])


def _hooks(desktop: Desktop, *, tools: bool) -> Any:
    from agents import RunHooks

    class Hooks(RunHooks[Any]):
        """Tells the desktop of every call."""

        def __init__(self) -> None:
            self.asked: dict[str, tuple[Message, ...]] = {}

        async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
            role = (Message(role="system", content=system_prompt),) if system_prompt else ()
            self.asked[agent.name] = (*role, *map(_message, input_items))
            desktop.start(f"model {agent.name}")

        async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
            used = response.usage
            usage = Usage(
                calls=1,
                prompt_tokens=used.input_tokens,
                cached_tokens=getattr(used.input_tokens_details, "cached_tokens", 0) or 0,
                completion_tokens=used.output_tokens,
            )
            asked = self.asked.pop(agent.name, ())
            lasted = desktop.lasted_s(f"model {agent.name}")
            await desktop.model(Heard(_model(agent), asked, _said(response.output), usage, lasted))

        async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
            desktop.start(getattr(context, "tool_call_id", tool.name))

        async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: object) -> None:
            if tools:
                key = getattr(context, "tool_call_id", tool.name)
                await desktop.tool(tool.name, getattr(context, "tool_arguments", "{}"), result, key=key)

    return Hooks()


def _model(agent: Any) -> str:
    named = agent.model
    return named if isinstance(named, str) else str(getattr(named, "model", None) or "openai-agents")


def _message(item: Any) -> Message:
    """One input item as a message; tool calls and results as their JSON."""
    if isinstance(item, dict) and "role" in item and isinstance(item.get("content"), str):
        role = {"developer": "system"}.get(item["role"], item["role"])
        return Message(role=role if role in ("system", "user", "assistant") else "user", content=item["content"])
    if isinstance(item, dict) and item.get("type") == "function_call_output":
        return Message(role="tool", content=plain(item.get("output")), tool_call_id=item.get("call_id"))
    if isinstance(item, dict) and item.get("type") == "function_call":
        call = ToolCall(id=item.get("call_id", ""), name=item.get("name", ""), arguments=item.get("arguments", "{}"))
        return Message(role="assistant", tool_calls=(call,))
    return Message(role="user", content=json.dumps(item, default=str))


def _said(output: Any) -> Message:
    """What a response says and calls."""
    texts = [part.text for item in output if item.type == "message" for part in item.content if hasattr(part, "text")]
    calls = tuple(
        ToolCall(id=item.call_id, name=item.name, arguments=item.arguments or "{}")
        for item in output
        if item.type == "function_call"
    )
    return Message(role="assistant", content="".join(texts), tool_calls=calls)
