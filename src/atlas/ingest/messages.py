"""Conversations in the shapes that instrumentations give them, as messages.

They agree on a list of tables with a role; what the words and the tool calls are called differs from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast, get_args

from atlas.ingest.values import first, listed, nested, one_of, parsed, table, text
from atlas.schema import Effect, FinishReason, Message, ToolCall, ToolSpec

Role = Literal["system", "user", "assistant", "tool"]

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
FINISH: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_call": "tool_calls",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}
EFFECTS: tuple[Effect, ...] = get_args(Effect)
SILENT = frozenset({"reasoning", "thinking", "redacted_thinking"})
"""Parts that are no part of what was said."""
CALLS = frozenset({"tool_call", "tool_use", "function_call"})
RESULTS = frozenset({"tool_call_response", "tool_result", "function_call_output"})
HOLDERS = ("messages", "input_messages", "choices")
"""Names under which a request's or a reply's body holds its messages."""
MARKS = frozenset({"role", "parts", "tool_calls", "message"})
"""Names by which a table is known as a message."""


def messages_of(value: Any, role: Role) -> list[Message]:
    """The messages in a value: a list of them, a single one, a request's or reply's body, or a plain text.

    `role` is whose words they are where they do not say.
    """
    found = parsed(value)
    if isinstance(found, list):
        return [message for each in cast(list[Any], found) for message in _message(each, role)]
    if isinstance(found, dict):
        body = cast(dict[str, Any], found)
        holder = next((name for name in HOLDERS if isinstance(parsed(body.get(name)), list)), None)
        if holder is not None:
            return messages_of(body[holder], role)
        if MARKS & body.keys():
            return list(_message(body, role))
    said = text(value)
    return [Message(role=role, content=said)] if said.strip() else []


def finish_of(value: Any) -> FinishReason | None:
    """Why a model stopped, in the house's words; None where nothing was said."""
    said = text(value).lower()
    return FINISH.get(said, "stop") if said else None


def tools_of(value: Any) -> tuple[ToolSpec, ...]:
    """The tools that a model was offered; one without a name is passed over."""
    specs: list[ToolSpec] = []
    for each in listed(value):
        outer = table(first(table(each), "tool", "json_schema", "tool.json_schema") or each)
        found = table(outer.get("json_schema") or outer)
        found = table(found.get("function") or found)
        if name := text(found.get("name")):
            schema = table(first(found, "parameters", "input_schema", "parametersJsonSchema"))
            empty: dict[str, Any] = {"type": "object", "properties": {}}
            effect: Effect = one_of(found.get("effect"), EFFECTS, "external")
            specs.append(
                ToolSpec(
                    name=name, description=text(found.get("description")), parameters=schema or empty, effect=effect
                )
            )
    return tuple(specs)


def _message(raw: Any, role: Role) -> Iterator[Message]:
    """One table is one message, but for results of tools: each is a message of its own."""
    if not isinstance(raw, dict):
        said = text(raw)
        if said.strip():
            yield Message(role=role, content=said)
        return
    found = cast(dict[str, Any], raw)
    if any(name.startswith("message.") for name in found):
        found = table(nested(found, "message"))
    found = table(first(found, "message", "kwargs")) or found
    speaker = ROLES.get(text(found.get("role") or found.get("type")).lower(), role)
    parts = listed(found["parts"]) if "parts" in found else _contents(found)
    results = [part for part in map(_typed, parts) if part["type"] in RESULTS]
    for part in results:
        yield _result(part)
    said = "\n".join(filter(None, map(_said, parts)))
    if speaker == "tool":
        if not results:
            yield Message(role="tool", content=said, tool_call_id=_id(first(found, "tool_call_id", "id")))
        return
    calls = tuple(_calls(found, parts))
    if said or calls or not results:
        yield Message(role=speaker, content=said, tool_calls=calls if speaker == "assistant" else ())


def _contents(found: dict[str, Any]) -> list[Any]:
    """Parts of the content: a list of them, or a single text that is taken as it is."""
    content = first(found, "content", "contents", "text")
    return cast(list[Any], content) if isinstance(content, list) else [] if content is None else [content]


def _typed(part: Any) -> dict[str, Any]:
    """A part as a table with its type; OpenInference wraps it once more."""
    if not isinstance(part, dict):
        return {"type": "text", "content": part}
    found = cast(dict[str, Any], part)
    if any(name.startswith(("message_content.", "tool_call.")) for name in found):
        found = {"message_content": nested(found, "message_content"), "tool_call": nested(found, "tool_call")}
    wrapped = table(found.get("message_content"))
    if wrapped:
        return {**wrapped, "type": text(wrapped.get("type")) or "text", "tool_call": found.get("tool_call")}
    return {**found, "type": text(found.get("type")) or "text"}


def _said(raw: Any) -> str:
    """The words of a part; a part that is no text leaves its kind in brackets."""
    part = _typed(raw)
    kind = str(part["type"])
    if kind in SILENT or kind in CALLS or kind in RESULTS:
        return ""
    words = first(part, "content", "text", "value")
    if kind in ("text", "input_text", "output_text", "refusal"):
        return text(words if words is not None else part.get("refusal"))
    return f"[{kind}]"


def _result(part: dict[str, Any]) -> Message:
    outcome = first(part, "response", "result", "content", "output")
    said = "\n".join(filter(None, map(_said, cast(list[Any], outcome)))) if isinstance(outcome, list) else text(outcome)
    return Message(role="tool", content=said, tool_call_id=_id(first(part, "id", "tool_use_id", "call_id")))


def _calls(found: dict[str, Any], parts: list[Any]) -> Iterator[ToolCall]:
    """The calls among the parts and beside them, each once."""
    wanted = [part for part in map(_typed, parts) if part["type"] in CALLS]
    beside = listed(found.get("tool_calls")) or listed(found.get("function_call"))
    for index, raw in enumerate(beside or wanted):
        call = table(raw)
        if any(name.startswith("tool_call.") for name in call):
            call = {"tool_call": nested(call, "tool_call")}
        call = table(call.get("tool_call")) or call
        function = table(call.get("function")) or call
        if name := text(function.get("name")):
            arguments = first(function, "arguments", "args", "input")
            yield ToolCall(id=_id(call.get("id")) or f"call_{index}", name=name, arguments=text(arguments))


def _id(value: Any) -> str | None:
    return text(value) or None
