"""Crews of CrewAI."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false
# Types of a package that need not be there.

from __future__ import annotations

import asyncio
from typing import Any

from atlas.agents.adapting import Surroundings
from atlas.agents.base import Abilities
from atlas.agents.frameworks.playing import Desktop, FrameworkAgent, Heard, plain
from atlas.agents.threads import in_thread
from atlas.schema import Message, Usage

_INPUTS = ("task", "prompt", "question", "query", "topic", "input", "request")
"""Names under which a crew is given its request; each is filled, and a crew takes the ones its texts name."""


def adapt(crew: Any, around: Surroundings) -> FrameworkAgent:
    """The crew, run in a thread; its model and tool calls are recorded from its event bus.

    The request goes to the places that its tasks name, `{task}`, `{topic}` and the like; a crew that names none is not
    reached by guidance and playbook. The bus is shared by the process, so that runs take place one after another.
    """
    reached = _reached(crew)

    async def play(desktop: Desktop) -> object:
        async with _TURNS.of_this_loop():
            return await in_thread(lambda: _run(crew, reached, desktop))

    name = getattr(crew, "name", None) or "crew"
    return FrameworkAgent(f"crewai:{name}", play, around, Abilities(traces=True, injects=bool(reached)))


class _Turns:
    """One lock for each event loop."""

    def __init__(self) -> None:
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    def of_this_loop(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        self._locks = {kept: lock for kept, lock in self._locks.items() if not kept.is_closed()}
        return self._locks.setdefault(loop, asyncio.Lock())


_TURNS = _Turns()


def _reached(crew: Any) -> tuple[str, ...]:
    """The places for a request in the texts of its tasks and agents."""
    texts = [each.description for each in crew.tasks] + [each.expected_output for each in crew.tasks]
    texts += [text for each in crew.agents for text in (each.role, each.goal, each.backstory)]
    return tuple(name for name in _INPUTS if any("{" + name + "}" in text for text in texts))


def _run(crew: Any, reached: tuple[str, ...], desktop: Desktop) -> object:
    from crewai.events import crewai_event_bus

    with crewai_event_bus.scoped_handlers():
        _listen(crewai_event_bus, desktop)
        result = crew.kickoff(inputs=dict.fromkeys(reached, desktop.prompt))
        crewai_event_bus.flush()
    return result.raw


def _listen(bus: Any, desktop: Desktop) -> None:
    from crewai.events.types.llm_events import LLMCallCompletedEvent
    from crewai.events.types.tool_usage_events import ToolUsageErrorEvent, ToolUsageFinishedEvent

    @bus.on(LLMCallCompletedEvent)
    def on_model(source: Any, event: Any) -> None:
        used = event.usage or {}
        usage = Usage(
            calls=1,
            prompt_tokens=int(used.get("prompt_tokens") or 0),
            cached_tokens=int(used.get("cached_prompt_tokens") or 0),
            completion_tokens=int(used.get("completion_tokens") or 0),
        )
        said = Message(role="assistant", content=plain(event.response))
        asked = tuple(map(_message, event.messages if isinstance(event.messages, list) else ()))
        desktop.wait(desktop.model(Heard(str(event.model or "crewai"), asked, said, usage, 0.0)))

    @bus.on(ToolUsageFinishedEvent)
    def on_tool(source: Any, event: Any) -> None:
        desktop.wait(desktop.tool(event.tool_name, plain(event.tool_args), event.output))

    @bus.on(ToolUsageErrorEvent)
    def on_tool_error(source: Any, event: Any) -> None:
        desktop.wait(desktop.tool(event.tool_name, plain(event.tool_args), "", error=str(event.error)[:500]))


def _message(message: Any) -> Message:
    role = message.get("role", "user")
    known: Any = role if role in ("system", "user", "assistant") else "user"
    return Message(role=known, content=plain(message.get("content") or ""))
