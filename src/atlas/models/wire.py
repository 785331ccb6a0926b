"""The OpenAI chat protocol: a request as it is sent, a reply as it is read. Pure functions and closed shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from atlas.models.text import estimate_tokens, one_line, scrub
from atlas.schema import Completion, FinishReason, Message, Request, ToolCall, ToolSpec, Usage
from atlas.schema.errors import ModelBadReply

OTHER_API = "Check that llm.api_base is that of a chat API."
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_NOT_STRICT = frozenset({"minLength", "maxLength", "uniqueItems", "default", "title"})
"""Keywords that strict mode of some servers refuses; the reply is checked against the whole schema here anyway."""
_NAMES = frozenset({"properties", "$defs", "definitions", "patternProperties"})
"""Keywords whose keys are names, not keywords."""
_VALUES = frozenset({"enum", "const", "required", "type"})
"""Keywords whose values are data, not schemas."""


class _Wire(BaseModel):
    """A shape that a foreign server sends: unknown fields are nobody's business."""

    model_config = ConfigDict(extra="ignore")


class Part(_Wire):
    """A part of a message's content."""

    text: str | None = None


_PARTS = TypeAdapter(list[Part])


def _joined(content: Any) -> Any:
    """Some servers send the text in parts."""
    return (
        "".join(part.text or "" for part in _PARTS.validate_python(content)) if isinstance(content, list) else content
    )


def _as_text(arguments: Any) -> Any:
    """Some servers send the arguments parsed."""
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else arguments


class FunctionCall(_Wire):
    """Name and arguments of a call, or a piece of them."""

    name: str | None = None
    arguments: Annotated[str | None, BeforeValidator(_as_text)] = None


class Call(_Wire):
    """A tool call, or a piece of one while it streams."""

    index: int | None = None
    id: str | None = None
    function: FunctionCall = FunctionCall()


class Said(_Wire):
    """What the assistant said, or a piece of it."""

    content: Annotated[str | None, BeforeValidator(_joined)] = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class TokenLogprob(_Wire):
    """A sampled token's log-probability."""

    logprob: float


class Logprobs(_Wire):
    """Log-probabilities of the sampled tokens."""

    content: list[TokenLogprob] | None = None


class Choice(_Wire):
    """One choice; `message` in a whole reply, `delta` in a streamed piece."""

    message: Said = Said()
    delta: Said = Said()
    finish_reason: str | None = None
    token_ids: list[int] | None = None
    logprobs: Logprobs | None = None


_Count = Annotated[int | None, Field(ge=0, le=10**12)]


class _PromptDetails(_Wire):
    cached_tokens: _Count = None


class WireUsage(_Wire):
    """What the server says that the call consumed."""

    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    prompt_tokens_details: _PromptDetails | None = None
    prompt_cache_hit_tokens: _Count = None


class Reply(_Wire):
    """A whole reply, or one streamed piece."""

    choices: list[Choice] = Field(default_factory=list[Choice])
    model: str | None = None
    usage: Any = None
    error: Any = None


class WireError(_Wire):
    """An error that came in place of a reply."""

    code: int


W = TypeVar("W", bound=_Wire)


def encode(request: Request, model: str) -> dict[str, Any]:
    """The JSON body that every server understands: model, conversation, tools, sampling."""
    body: dict[str, Any] = {"model": model, "messages": [_encode_message(message) for message in request.messages]}
    if request.tools:
        body["tools"] = [_encode_tool(tool) for tool in request.tools]
        if request.tool_choice in ("none", "required"):
            body["tool_choice"] = request.tool_choice
        elif request.tool_choice != "auto":
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice}}
    for name in ("temperature", "top_p", "seed"):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    return body


def dump(body: Mapping[str, Any]) -> bytes:
    """The body as UTF-8; NUL becomes an escape, a lone surrogate U+FFFD."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return scrub(text).encode()


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The strict JSON-schema parameter; strict only where the schema closes every object, as strict mode demands."""
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": _is_closed(schema), "schema": _for_strict_mode(schema)},
    }


def parse(raw: str | bytes | bytearray, shape: type[W], host: str) -> W:
    """A JSON text as the given shape.

    Raises:
        ModelBadReply: it is not JSON, or not that shape.
    """
    try:
        return shape.model_validate(json.loads(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelBadReply(f"{host} broke the chat protocol at {where}: {first['msg']}.", OTHER_API) from None
    except (ValueError, RecursionError):
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        raise ModelBadReply(f"{host} sent no JSON: {one_line(text, 80)!a}.", OTHER_API, text=text[:2000]) from None


def decode(reply: Reply, request: Request, host: str) -> Completion:
    """The completion in a whole reply; tokens are estimated where the server counts none.

    Raises:
        ModelBadReply: there is no choice in it, or a tool call without a name.
    """
    if not reply.choices:
        raise ModelBadReply(f"{host} sent a reply without a choice.", "Check the server's log, or try again.")
    choice = reply.choices[0]
    text = choice.message.content or ""
    finish = _FINISH.get(choice.finish_reason or "", "stop")
    if choice.message.refusal and not text:
        text, finish = choice.message.refusal, "content_filter"
    calls = tuple(_decode_call(call, index, host) for index, call in enumerate(choice.message.tool_calls or ()))
    logprobs = choice.logprobs.content if choice.logprobs else None
    return Completion(
        message=Message(role="assistant", content=scrub(text), tool_calls=calls),
        finish_reason="tool_calls" if calls else finish,
        usage=_usage(reply.usage, request, text),
        model=scrub(reply.model or ""),
        token_ids=tuple(choice.token_ids or ()),
        logprob=sum(token.logprob for token in logprobs) if logprobs else None,
    )


def _encode_message(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        out["content"] = message.content or None
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out


def _encode_tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _decode_call(call: Call, index: int, host: str) -> ToolCall:
    if not call.function.name:
        raise ModelBadReply(f"{host} sent a tool call without a name.", "Check the server's log, or try again.")
    return ToolCall(
        id=scrub(call.id or f"call_{index}"),
        name=scrub(call.function.name),
        arguments=scrub(call.function.arguments or ""),
    )


def _usage(raw: object, request: Request, text: str) -> Usage:
    """What the server counted; a missing or broken count becomes an estimate, so that no budget runs dry unseen."""
    try:
        said = WireUsage.model_validate(raw)
    except ValidationError:
        said = WireUsage()
    prompt, completion = said.prompt_tokens, said.completion_tokens
    if prompt is None:
        prompt = sum(estimate_tokens(message.content) for message in request.messages)
    if completion is None:
        completion = estimate_tokens(text)
    details = said.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or said.prompt_cache_hit_tokens or 0
    return Usage(calls=1, prompt_tokens=prompt, cached_tokens=max(0, min(cached, prompt)), completion_tokens=completion)


def _is_closed(schema: Any) -> bool:
    """Whether every object in it lists all its properties as required and takes no others."""
    if isinstance(schema, list):
        return all(map(_is_closed, cast(list[Any], schema)))
    if not isinstance(schema, dict):
        return True
    node = cast(dict[str, Any], schema)
    properties: dict[str, Any] = node.get("properties", {})
    is_object = node.get("type") == "object" or "properties" in node
    if is_object and (
        node.get("additionalProperties") is not False or properties.keys() != set(node.get("required", ()))
    ):
        return False
    return all(map(_is_closed, properties.values())) and all(
        _is_closed(value) for keyword, value in node.items() if keyword not in _NAMES | _VALUES
    )


def _for_strict_mode(schema: Any) -> Any:
    """The schema without the keywords that strict mode refuses."""
    if isinstance(schema, list):
        return [_for_strict_mode(part) for part in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    node = cast(dict[str, Any], schema)
    kept: dict[str, Any] = {}
    for keyword, value in node.items():
        if keyword in _NAMES and isinstance(value, dict):
            named = cast(dict[str, Any], value)
            kept[keyword] = {name: _for_strict_mode(part) for name, part in named.items()}
        elif keyword in _VALUES:
            kept[keyword] = value
        elif keyword not in _NOT_STRICT:
            kept[keyword] = _for_strict_mode(value)
    return kept
