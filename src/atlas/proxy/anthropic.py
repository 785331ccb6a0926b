"""Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from atlas.models.text import estimate_tokens
from atlas.proxy.base import Body, Unreadable
from atlas.proxy.chat import HOST, appended, events, parsed, playbook, spoken
from atlas.proxy.content import count, listed, number, required, spec, table, text, words
from atlas.schema import Completion, FinishReason, Message, Recalled, Request, ToolCall, Usage
from atlas.schema.errors import ModelBadReply, ModelUnavailable

FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
KINDS = {400: "invalid_request_error", 401: "authentication_error", 413: "request_too_large", 429: "rate_limit_error"}


class Messages:
    """`/v1/messages`."""

    ends: tuple[bytes, ...] = (b'"message_stop"',)

    def request(self, body: Body) -> Request:
        """See `Dialect.request`."""
        said = [message for each in required(body, "messages") for message in _messages(each)]
        role = words(body.get("system"))
        choice = table(body.get("tool_choice"))
        kind = text(choice.get("type")) or "auto"
        return Request(
            messages=(*((Message(role="system", content=role),) if role else ()), *said),
            tools=tuple(spec(table(each), "input_schema") for each in listed(body.get("tools"))),
            tool_choice={"any": "required", "tool": text(choice.get("name"))}.get(kind, kind) or "auto",
            json_schema=table(table(table(body.get("output_config")).get("format")).get("schema")) or None,
            max_output_tokens=count(body.get("max_tokens")),
            temperature=number(body.get("temperature")),
            top_p=number(body.get("top_p")),
        )

    def completion(self, raw: bytes, request: Request, *, streamed: bool) -> Completion:
        """See `Dialect.completion`."""
        reply = _gathered(events(raw)) if streamed else parsed(raw)
        if reply.get("type") == "error" or "content" not in reply:
            raise ModelBadReply(f"{HOST} sent no message: {text(table(reply.get('error')).get('message'))[:300]}")
        blocks = [table(block) for block in listed(reply.get("content"))]
        calls = tuple(_call(block) for block in blocks if block.get("type") == "tool_use")
        said = "\n".join(text(block.get("text")) for block in blocks if block.get("type") == "text")
        finish = FINISH.get(text(reply.get("stop_reason")), "stop")
        return Completion(
            message=Message(role="assistant", content=said, tool_calls=calls),
            finish_reason="tool_calls" if calls else finish,
            usage=_usage(table(reply.get("usage")), request, said),
            model=text(reply.get("model")),
        )

    def reply_id(self, raw: bytes) -> str | None:
        """Nothing refers to a message."""
        return None

    def labels(self, body: Body) -> tuple[str, ...]:
        """A request refers to nothing: it repeats the conversation."""
        return ()

    def with_playbook(self, body: Body, recalled: Recalled) -> Body:
        """See `Dialect.with_playbook`. Blocks that are marked for the cache stay in front."""
        own = body.get("system")
        return {**body, "system": appended(own, recalled) if own else playbook(recalled)}

    def with_more(self, body: Body, more: Sequence[Message]) -> Body:
        """See `Dialect.with_more`."""
        return {**body, "messages": [*body["messages"], *map(spoken, more)]}

    def refusal(self, status: int, kind: str, message: str) -> Body:
        """See `Dialect.refusal`."""
        return {"type": "error", "error": {"type": KINDS.get(status, "api_error"), "message": message}}


def _messages(raw: Body) -> Iterator[Message]:
    """One turn; results of tools, which come inside a user's turn, are messages of their own before its words."""
    role, content = raw.get("role"), raw.get("content")
    if role not in ("user", "assistant", "system"):
        raise Unreadable("a message has no role that is known")
    blocks = [table(block) for block in listed(content)]
    for block in blocks:
        if block.get("type") == "tool_result":
            name = text(block.get("tool_use_id")) or None
            yield Message(role="tool", content=words(block.get("content")), tool_call_id=name)
    rest = [block for block in blocks if block.get("type") not in ("tool_result", "tool_use")]
    calls = tuple(_call(block) for block in blocks if block.get("type") == "tool_use")
    said = words(rest) if blocks else words(content)
    if role == "assistant":
        yield Message(role="assistant", content=said, tool_calls=calls)
    elif said or not blocks:
        yield Message(role="system" if role == "system" else "user", content=said)


def _call(block: Body) -> ToolCall:
    given = block.get("input")
    arguments = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
    return ToolCall(id=text(block.get("id")), name=text(block.get("name")), arguments=text(arguments))


def _gathered(pieces: list[Body]) -> Body:
    """The message that a stream tells, as if it had not been streamed."""
    reply: Body = {}
    blocks: dict[int | None, Body] = {}
    for piece in pieces:
        index = count(piece.get("index"))
        match piece.get("type"):
            case "message_start":
                reply = dict(table(piece.get("message")))
            case "content_block_start":
                blocks[index] = {"pieces": [], **table(piece.get("content_block"))}
            case "content_block_delta":
                delta = table(piece.get("delta"))
                block = blocks.setdefault(index, {"type": "text", "pieces": []})
                block["pieces"].append(text(delta.get("text")) or text(delta.get("partial_json")))
            case "message_delta":
                reply |= {"stop_reason": table(piece.get("delta")).get("stop_reason")}
                reply["usage"] = {**table(reply.get("usage")), **table(piece.get("usage"))}
            case "message_stop":
                return {**reply, "content": [_whole(block) for block in blocks.values()]}
            case "error":
                return piece
            case _:
                pass
    raise ModelUnavailable(f"{HOST} broke off in the middle of a stream.")


def _whole(block: Body) -> Body:
    said = "".join(block["pieces"])
    if block.get("type") == "tool_use":
        return {**block, "input": said or block.get("input")}
    return {**block, "text": text(block.get("text")) + said}


def _usage(said: Body, request: Request, answer: str) -> Usage:
    """Tokens read, cached ones included, as the house counts them; a missing count is estimated."""
    fresh, completion = count(said.get("input_tokens")), count(said.get("output_tokens"))
    cached = count(said.get("cache_read_input_tokens")) or 0
    written = count(said.get("cache_creation_input_tokens")) or 0
    if fresh is None:
        fresh = sum(estimate_tokens(message.content) for message in request.messages)
    return Usage(
        calls=1,
        prompt_tokens=fresh + cached + written,
        cached_tokens=cached,
        completion_tokens=estimate_tokens(answer) if completion is None else completion,
    )
