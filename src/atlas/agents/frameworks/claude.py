"""The Claude Agent SDK: the options of a query are the agent."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false
# Types of a package that need not be there.

from __future__ import annotations

import dataclasses
from typing import Any

from atlas.agents.adapting import Surroundings
from atlas.agents.base import Abilities
from atlas.agents.frameworks.playing import Desktop, FrameworkAgent, Heard, plain
from atlas.schema import Message, ToolCall, Usage


def adapt(options: Any, around: Surroundings) -> FrameworkAgent:
    """`ClaudeAgentOptions`, with hooks of ours beside the user's: tool calls are recorded, answers too."""

    async def play(desktop: Desktop) -> object:
        from claude_agent_sdk import AssistantMessage, ResultMessage, query

        asked = (Message(role="user", content=desktop.prompt),)
        answer: object = None
        async for message in query(prompt=desktop.prompt, options=_hooked(options, desktop)):
            if isinstance(message, AssistantMessage):
                await desktop.model(Heard(message.model, asked, _said(message), _usage(message.usage), 0.0))
            elif isinstance(message, ResultMessage):
                if message.is_error:
                    raise RuntimeError(message.result or message.subtype)
                answer = message.structured_output or message.result
        return answer

    return FrameworkAgent("claude-agent-sdk", play, around, Abilities(traces=True))


def _hooked(options: Any, desktop: Desktop) -> Any:
    """The options with our hooks behind the user's own."""
    from claude_agent_sdk import HookMatcher

    async def before(given: Any, use_id: str | None, context: Any) -> dict[str, Any]:
        desktop.start(given["tool_use_id"])
        return {}

    async def after(given: Any, use_id: str | None, context: Any) -> dict[str, Any]:
        arguments = plain(given["tool_input"])
        await desktop.tool(given["tool_name"], arguments, given["tool_response"], key=given["tool_use_id"])
        return {}

    async def failed(given: Any, use_id: str | None, context: Any) -> dict[str, Any]:
        arguments, error = plain(given["tool_input"]), given["error"][:500]
        await desktop.tool(given["tool_name"], arguments, "", error=error, key=given["tool_use_id"])
        return {}

    hooks: dict[Any, list[Any]] = {name: list(matchers) for name, matchers in (options.hooks or {}).items()}
    ours: dict[Any, Any] = {"PreToolUse": before, "PostToolUse": after, "PostToolUseFailure": failed}
    for name, hook in ours.items():
        hooks.setdefault(name, []).append(HookMatcher(hooks=[hook]))
    return dataclasses.replace(options, hooks=hooks)


def _said(message: Any) -> Message:
    texts = [block.text for block in message.content if hasattr(block, "text")]
    calls = tuple(
        ToolCall(id=block.id, name=block.name, arguments=plain(block.input))
        for block in message.content
        if hasattr(block, "input")
    )
    return Message(role="assistant", content="".join(texts), tool_calls=calls)


def _usage(told: dict[str, Any] | None) -> Usage:
    """Anthropic counts cached tokens beside the others."""
    told = told or {}
    cached = int(told.get("cache_read_input_tokens") or 0)
    fresh = int(told.get("input_tokens") or 0) + int(told.get("cache_creation_input_tokens") or 0)
    return Usage(
        calls=1,
        prompt_tokens=fresh + cached,
        cached_tokens=cached,
        completion_tokens=int(told.get("output_tokens") or 0),
    )
