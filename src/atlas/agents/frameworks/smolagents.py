"""Agents of smolagents: `CodeAgent`, `ToolCallingAgent` and others of `MultiStepAgent`."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false
# Types of a package that need not be there.

from __future__ import annotations

from typing import Any

from atlas.agents.adapting import Surroundings
from atlas.agents.base import Abilities
from atlas.agents.frameworks.playing import Desktop, FrameworkAgent, Heard, plain
from atlas.agents.threads import in_thread
from atlas.schema import Message, ToolCall, Usage

_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool-response": "user"}


def adapt(agent: Any, around: Surroundings) -> FrameworkAgent:
    """The agent, run in a thread; each of its steps is on record once it is over, with its model and tool calls.

    It holds the memory of one run, so that turns of one agent take place one after another.
    """
    name = getattr(agent, "name", None) or type(agent).__name__
    turns: list[Any] = []

    async def play(desktop: Desktop) -> object:
        import asyncio

        if not turns:
            turns.append(asyncio.Lock())
        async with turns[0]:
            return await in_thread(lambda: _run(agent, desktop))

    return FrameworkAgent(f"smolagents:{name}", play, around, Abilities(traces=True))


def _run(agent: Any, desktop: Desktop) -> object:
    told = 0
    for step in agent.run(desktop.prompt, stream=True, reset=True):
        kind = type(step).__name__
        if kind == "ActionStep":
            told += 1
            desktop.wait(_tell(agent, step, desktop))
        elif kind == "FinalAnswerStep":
            return step.output
    raise RuntimeError(f"it gave no final answer in {told} steps")


async def _tell(agent: Any, step: Any, desktop: Desktop) -> None:
    """One action: what the model was asked and said, and the tools that were called."""
    if step.model_output_message is not None:
        used = step.token_usage
        usage = Usage(
            calls=1,
            prompt_tokens=used.input_tokens if used else 0,
            completion_tokens=used.output_tokens if used else 0,
        )
        asked = tuple(map(_message, step.model_input_messages or ()))
        model = str(getattr(agent.model, "model_id", None) or "smolagents")
        await desktop.model(
            Heard(model, asked, _message(step.model_output_message), usage, step.timing.duration or 0.0)
        )
    for call in step.tool_calls or ():
        if call.name != "final_answer":
            error = None if step.error is None else str(step.error)[:500]
            await desktop.tool(call.name, plain(call.arguments), step.observations or "", error=error, key=call.id)


def _message(message: Any) -> Message:
    content = message.content
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    calls = tuple(
        ToolCall(id=each.id, name=each.function.name, arguments=plain(each.function.arguments))
        for each in message.tool_calls or ()
    )
    role: Any = _ROLES.get(str(getattr(message.role, "value", message.role)), "assistant")
    return Message(role=role, content=content or "", tool_calls=calls)
