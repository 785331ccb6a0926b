"""OpenAI's chat completions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from atlas.models.sse import EventParser, Gathered
from atlas.models.wire import Reply, decode, parse
from atlas.proxy.base import Body, Unreadable
from atlas.proxy.content import count, listed, number, required, spec, table, text, words
from atlas.roles.messages import system
from atlas.schema import Completion, Message, Recalled, Request, ToolCall
from atlas.schema.errors import ModelBadReply, ModelUnavailable

HOST = "The upstream"
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class Chat:
    """`/v1/chat/completions`. Of several choices the first is recorded."""

    ends: tuple[bytes, ...] = (b"data: [DONE]",)

    def request(self, body: Body) -> Request:
        """See `Dialect.request`."""
        choice = body.get("tool_choice")
        form = table(table(body.get("response_format")).get("json_schema"))
        return Request(
            messages=tuple(_message(each) for each in required(body, "messages")),
            tools=tuple(spec(_function(each), "parameters") for each in listed(body.get("tools"))),
            tool_choice=_chosen(choice),
            json_schema=table(form.get("schema")) or None,
            max_output_tokens=count(body.get("max_completion_tokens")) or count(body.get("max_tokens")),
            temperature=number(body.get("temperature")),
            top_p=number(body.get("top_p")),
            seed=count(body.get("seed")),
        )

    def completion(self, raw: bytes, request: Request, *, streamed: bool) -> Completion:
        """See `Dialect.completion`."""
        reply = _gathered(raw) if streamed else parse(raw, Reply, HOST)
        if reply.error and not reply.choices:
            raise ModelBadReply(f"{HOST} sent an error instead of a reply: {text(reply.error)[:300]}")
        return decode(reply, request, HOST)

    def reply_id(self, raw: bytes) -> str | None:
        """Nothing refers to a chat completion."""
        return None

    def labels(self, body: Body) -> tuple[str, ...]:
        """A chat completion refers to nothing: it repeats the conversation."""
        return ()

    def with_playbook(self, body: Body, recalled: Recalled) -> Body:
        """See `Dialect.with_playbook`."""
        messages = list(body["messages"])
        heads = 0
        while heads < len(messages) and messages[heads].get("role") in ("system", "developer"):
            heads += 1
        if heads == 0:
            return {**body, "messages": [{"role": "system", "content": playbook(recalled)}, *messages]}
        messages[heads - 1] = {**messages[heads - 1], "content": appended(messages[heads - 1].get("content"), recalled)}
        return {**body, "messages": messages}

    def with_more(self, body: Body, more: Sequence[Message]) -> Body:
        """See `Dialect.with_more`."""
        return {**body, "messages": [*body["messages"], *map(spoken, more)]}

    def refusal(self, status: int, kind: str, message: str) -> Body:
        """See `Dialect.refusal`."""
        return {"error": {"message": message, "type": kind, "param": None, "code": f"atlas_{kind}"}}


def playbook(recalled: Recalled, static: str = "") -> str:
    """The playbook as a role text of its own, or behind another; the same text that Atlas's own students see."""
    return system(static, recalled)[0].content


def appended(content: Any, recalled: Recalled) -> Any:
    """A role text with the playbook behind it: a text, or parts."""
    if isinstance(content, list):
        return [*listed(content), {"type": "text", "text": playbook(recalled)}]
    return playbook(recalled, text(content))


def spoken(message: Message) -> Body:
    """A turn in words."""
    return {"role": message.role, "content": message.content}


def _message(raw: Body) -> Message:
    role = ROLES.get(text(raw.get("role")))
    if role == "assistant":
        said = words(raw.get("content")) or text(raw.get("refusal"))
        calls = tuple(map(_call, listed(raw.get("tool_calls"))))
        return Message(role="assistant", content=said, tool_calls=calls)
    if role == "tool" or raw.get("role") == "function":
        name = text(raw.get("tool_call_id")) or text(raw.get("name")) or None
        return Message(role="tool", content=words(raw.get("content")), tool_call_id=name)
    if role is None:
        raise Unreadable("a message has no role that is known")
    return Message(role="system" if role == "system" else "user", content=words(raw.get("content")))


def _call(raw: Any) -> ToolCall:
    found = table(raw)
    function = table(found.get("function")) or table(found.get("custom"))
    arguments = function.get("arguments", function.get("input"))
    return ToolCall(id=text(found.get("id")), name=text(function.get("name")), arguments=text(arguments))


def _function(raw: Any) -> Body:
    found = table(raw)
    return table(found.get("function")) or table(found.get("custom")) or found


def _chosen(choice: Any) -> str:
    if isinstance(choice, str):
        return choice
    return text(_function(choice).get("name")) or "auto"


def _gathered(raw: bytes) -> Reply:
    """The whole of a streamed reply; one without its end was broken off."""
    parser, gathered = EventParser(), Gathered()
    pieces = [*parser.feed(raw), *parser.finish()]
    for data in pieces:
        if data == b"[DONE]":
            break
        piece = parse(data, Reply, HOST)
        if piece.error and not piece.choices:
            raise ModelBadReply(f"{HOST} sent an error in its stream: {text(piece.error)[:300]}")
        gathered.add(piece)
    if gathered.finish_reason is None:
        raise ModelUnavailable(f"{HOST} broke off in the middle of a stream.")
    return gathered.reply()


def events(raw: bytes) -> list[Body]:
    """The JSON objects of an event stream in order; what is no JSON object is left out."""
    parser = EventParser()
    found: list[Body] = []
    for data in [*parser.feed(raw), *parser.finish()]:
        try:
            value: Any = json.loads(data)
        except (ValueError, RecursionError):
            continue
        found.append(table(value))
    return found


def parsed(raw: bytes) -> Body:
    """A reply's body.

    Raises:
        ModelBadReply: it is no JSON object.
    """
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelBadReply(f"{HOST} sent no JSON object.")
    return table(value)
