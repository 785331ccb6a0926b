"""Agents of pydantic-ai."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false
# Types of a package that need not be there.

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from atlas.agents.adapting import Surroundings
from atlas.agents.base import Abilities
from atlas.agents.frameworks.playing import Desktop, FrameworkAgent, Heard, plain
from atlas.schema import Message, ToolCall, Usage


def adapt(agent: Any, around: Surroundings) -> FrameworkAgent:
    """The agent, with its model and its tools wrapped for the length of a turn: tool calls are steps."""

    async def play(desktop: Desktop) -> object:
        from pydantic_ai.models import infer_model
        from pydantic_ai.toolsets import CombinedToolset

        if agent.model is None:
            raise ValueError("the agent names no model")
        toolset = _stepping(CombinedToolset(list(agent.toolsets)), desktop)
        with agent.override(model=_heard(infer_model(agent.model), desktop), toolsets=[toolset], tools=[]):
            result = await agent.run(desktop.prompt)
        return result.output

    return FrameworkAgent(f"pydantic-ai:{agent.name or 'agent'}", play, around, Abilities(traces=True, steps=True))


def _heard(model: Any, desktop: Desktop) -> Any:
    from pydantic_ai.models.wrapper import WrapperModel

    class HeardModel(WrapperModel):
        """The user's model; each answer is put on record."""

        async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> Any:
            desktop.start("model")
            response = await self.wrapped.request(messages, model_settings, model_request_parameters)
            used = response.usage
            usage = Usage(
                calls=1,
                prompt_tokens=used.input_tokens,
                cached_tokens=used.cache_read_tokens,
                completion_tokens=used.output_tokens,
            )
            asked = tuple(said for each in messages for said in _messages(each))
            name = f"{self.wrapped.system}:{self.wrapped.model_name}"
            await desktop.model(Heard(name, asked, _said(response), usage, desktop.lasted_s("model")))
            return response

    return HeardModel(model)


def _stepping(toolset: Any, desktop: Desktop) -> Any:
    from pydantic_ai.toolsets import WrapperToolset

    class SteppingToolset(WrapperToolset[Any]):
        """The user's tools; each call is a step."""

        async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
            run = self.wrapped.call_tool
            arguments = to_json(tool_args, fallback=str).decode()
            return await desktop.step(name, arguments, lambda: run(name, tool_args, ctx, tool))

    return SteppingToolset(toolset)


def _messages(message: Any) -> list[Message]:
    """The parts of one request or response."""
    if message.kind == "response":
        return [_said(message)]
    found: list[Message] = []
    if getattr(message, "instructions", None):
        found.append(Message(role="system", content=message.instructions))
    for part in message.parts:
        content = plain(part.content)
        match part.part_kind:
            case "system-prompt":
                found.append(Message(role="system", content=content))
            case "tool-return" | "retry-prompt" if getattr(part, "tool_name", None):
                found.append(Message(role="tool", content=content, tool_call_id=part.tool_call_id))
            case _:
                found.append(Message(role="user", content=content))
    return found


def _said(response: Any) -> Message:
    texts = [part.content for part in response.parts if part.part_kind == "text"]
    calls = tuple(
        ToolCall(id=part.tool_call_id, name=part.tool_name, arguments=part.args_as_json_str())
        for part in response.parts
        if part.part_kind == "tool-call"
    )
    return Message(role="assistant", content="".join(texts), tool_calls=calls)
