"""Anything of LangChain that can be invoked: chains, `create_agent`, and graphs of LangGraph."""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false
# Types of a package that need not be there.

from __future__ import annotations

from typing import Any

from atlas.agents.adapting import Surroundings
from atlas.agents.base import Abilities
from atlas.agents.frameworks.playing import Desktop, FrameworkAgent, Heard, plain
from atlas.schema import Message, ToolCall, Usage

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_INPUTS = ("messages", "input", "question", "query", "prompt", "task")
"""Keys of a mapping that holds the request, likeliest first."""


def adapt(runnable: Any, around: Surroundings) -> FrameworkAgent:
    """The runnable; its model and tool calls are recorded by callbacks, which see but do not hold back."""

    async def play(desktop: Desktop) -> object:
        result = await runnable.ainvoke(_asked(runnable, desktop.prompt), config={"callbacks": [_callbacks(desktop)]})
        return _answer(result)

    name = getattr(runnable, "name", None) or type(runnable).__name__
    return FrameworkAgent(f"langchain:{name}", play, around, Abilities(traces=True))


def _asked(runnable: Any, prompt: str) -> object:
    """The request in the shape that the runnable takes, as its own input schema tells."""
    schema = runnable.get_input_jsonschema()
    found = schema.get("properties") or {}
    key = next((name for name in _INPUTS if name in found), None)
    if key is None and schema.get("type") == "object" and len(found) == 1:
        key = next(iter(found))
    if key is None:
        return prompt
    return {key: [("user", prompt)] if key == "messages" else prompt}


def _answer(result: Any) -> object:
    """The last message of a conversation; the text of a message; a mapping's output; else the thing itself."""
    if isinstance(result, dict):
        messages = result.get("messages")
        if messages:
            return _text(messages[-1])
        return next((result[key] for key in ("output", "answer", "result", "text") if key in result), result)
    return _text(result) if hasattr(result, "content") else result


def _callbacks(desktop: Desktop) -> Any:
    from langchain_core.callbacks import AsyncCallbackHandler

    class Told(AsyncCallbackHandler):
        """Tells the desktop of every call."""

        raise_error = True
        """A record that cannot be written, and a budget that is spent, end the run."""

        def __init__(self) -> None:
            self.asked: dict[Any, tuple[Message, ...]] = {}
            self.tools: dict[Any, tuple[str, str]] = {}

        async def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: Any, **more: Any) -> None:
            self.asked[run_id] = tuple(_message(each) for each in messages[0])
            desktop.start(str(run_id))

        async def on_llm_end(self, response: Any, *, run_id: Any, **more: Any) -> None:
            said = getattr(response.generations[0][0], "message", None)
            asked = self.asked.pop(run_id, None)
            if said is None or asked is None:
                return
            model = str(said.response_metadata.get("model_name") or said.response_metadata.get("model") or "langchain")
            await desktop.model(Heard(model, asked, _message(said), _usage(said), desktop.lasted_s(str(run_id))))

        async def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, **more: Any) -> None:
            inputs = more.get("inputs")
            self.tools[run_id] = ((serialized or {}).get("name", "tool"), plain(inputs) if inputs else input_str)
            desktop.start(str(run_id))

        async def on_tool_end(self, output: Any, *, run_id: Any, **more: Any) -> None:
            name, arguments = self.tools.pop(run_id, ("tool", "{}"))
            await desktop.tool(name, arguments, _text(output), key=str(run_id))

        async def on_tool_error(self, error: BaseException, *, run_id: Any, **more: Any) -> None:
            name, arguments = self.tools.pop(run_id, ("tool", "{}"))
            said = f"{name} raised {type(error).__name__}: {error}"
            await desktop.tool(name, arguments, "", error=said[:500], key=str(run_id))

    return Told()


def _message(message: Any) -> Message:
    calls = tuple(
        ToolCall(id=each.get("id") or "", name=each["name"], arguments=plain(each["args"]))
        for each in getattr(message, "tool_calls", ())
    )
    role: Any = _ROLES.get(message.type, "user")
    return Message(
        role=role, content=_text(message), tool_calls=calls, tool_call_id=getattr(message, "tool_call_id", None)
    )


def _usage(message: Any) -> Usage:
    told = getattr(message, "usage_metadata", None) or {}
    return Usage(
        calls=1,
        prompt_tokens=told.get("input_tokens", 0),
        cached_tokens=(told.get("input_token_details") or {}).get("cache_read", 0),
        completion_tokens=told.get("output_tokens", 0),
    )


def _text(message: Any) -> str:
    """A message's text; of content in blocks the texts, joined."""
    content = getattr(message, "content", message)
    if isinstance(content, list):
        texts = [each if isinstance(each, str) else each.get("text", "") for each in content]
        return "".join(texts)
    return plain(content)
