"""OpenAI's responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from atlas.models.text import estimate_tokens
from atlas.proxy.base import Body, Unreadable
from atlas.proxy.chat import HOST, Chat, events, parsed, playbook, spoken
from atlas.proxy.content import count, listed, number, spec, table, text, words
from atlas.schema import Completion, FinishReason, Message, Recalled, Request, ToolCall, Usage
from atlas.schema.errors import ModelBadReply, ModelUnavailable

ENDS = ("response.completed", "response.incomplete", "response.failed")
SYSTEM = ("system", "developer")


class Responses(Chat):
    """`/v1/responses`. What a request leaves to the provider's memory (`previous_response_id`) is not repeated here."""

    ends = tuple(f'"{kind}"'.encode() for kind in ENDS)

    def request(self, body: Body) -> Request:
        """See `Dialect.request`."""
        given = body.get("input", [])
        if not isinstance(given, str | list):
            raise Unreadable("input is neither a text nor a list")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else listed(given)
        said = tuple(_messages(items))
        if body.get("instructions"):
            said = (Message(role="system", content=text(body["instructions"])), *said)
        form = table(table(body.get("text")).get("format"))
        choice = body.get("tool_choice", "auto")
        return Request(
            messages=said,
            tools=tuple(spec(table(each), "parameters") for each in listed(body.get("tools"))),
            tool_choice=choice if isinstance(choice, str) else text(table(choice).get("name")) or "auto",
            json_schema=table(form.get("schema")) or None,
            max_output_tokens=count(body.get("max_output_tokens")),
            temperature=number(body.get("temperature")),
            top_p=number(body.get("top_p")),
        )

    def completion(self, raw: bytes, request: Request, *, streamed: bool) -> Completion:
        """See `Dialect.completion`."""
        reply = _ended(raw) if streamed else parsed(raw)
        if reply.get("error"):
            raise ModelBadReply(f"{HOST} failed: {text(reply['error'])[:300]}")
        if "output" not in reply:
            raise ModelBadReply(f"{HOST} sent a response without output.")
        said = [message for message in _messages(listed(reply.get("output"))) if message.role == "assistant"]
        message = Message(
            role="assistant",
            content="\n".join(filter(None, (each.content for each in said))),
            tool_calls=tuple(call for each in said for call in each.tool_calls),
        )
        return Completion(
            message=message,
            finish_reason=_finish(reply, message),
            usage=_usage(table(reply.get("usage")), request, message.content),
            model=text(reply.get("model")),
        )

    def reply_id(self, raw: bytes) -> str | None:
        """The response's id, from the body or from the first event that has one."""
        at = raw.find(b'"resp')
        end = raw.find(b'"', at + 1)
        return raw[at + 1 : end].decode("utf-8", "replace") if 0 <= at < end < at + 200 else None

    def labels(self, body: Body) -> tuple[str, ...]:
        """The response and the conversation that the request goes on from."""
        conversation = body.get("conversation")
        named = (body.get("previous_response_id"), table(conversation).get("id") or conversation)
        return tuple(name for name in named if isinstance(name, str) and name)

    def with_playbook(self, body: Body, recalled: Recalled) -> Body:
        """See `Dialect.with_playbook`; the provider does not carry instructions over, so each request has them."""
        return {**body, "instructions": playbook(recalled, text(body.get("instructions")))}

    def with_more(self, body: Body, more: Sequence[Message]) -> Body:
        """See `Dialect.with_more`."""
        given = body.get("input", [])
        items: list[Any] = [{"role": "user", "content": given}] if isinstance(given, str) else listed(given)
        return {**body, "input": [*items, *map(spoken, more)]}


def _messages(items: Iterable[Any]) -> list[Message]:
    """The items as messages: calls that follow one another, or words, are one turn of the assistant."""
    found: list[Message] = []
    for raw in items:
        item = table(raw)
        kind = text(item.get("type")) or "message"
        if kind in ("function_call", "custom_tool_call"):
            arguments = text(item.get("arguments", item.get("input")))
            call = ToolCall(id=text(item.get("call_id")), name=text(item.get("name")), arguments=arguments)
            before = found.pop() if found and found[-1].role == "assistant" else Message(role="assistant")
            found.append(before.model_copy(update={"tool_calls": (*before.tool_calls, call)}))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            output = item.get("output")
            said = words(output) if isinstance(output, list) else text(output)
            found.append(Message(role="tool", content=said, tool_call_id=text(item.get("call_id")) or None))
        elif kind == "message":
            found.append(_message(item))
        elif kind != "reasoning":
            found.append(Message(role="assistant", content=f"[{kind}]"))
    return found


def _message(item: Body) -> Message:
    role, said = item.get("role"), words(item.get("content"))
    if role == "assistant":
        return Message(role="assistant", content=said)
    return Message(role="system" if role in SYSTEM else "user", content=said)


def _ended(raw: bytes) -> Body:
    """The response as its last event tells it."""
    for event in reversed(events(raw)):
        if event.get("type") in ENDS:
            return table(event.get("response"))
        if event.get("type") == "error":
            raise ModelBadReply(f"{HOST} sent an error in its stream: {text(event.get('message'))[:300]}")
    raise ModelUnavailable(f"{HOST} broke off in the middle of a stream.")


def _finish(reply: Body, message: Message) -> FinishReason:
    if message.tool_calls:
        return "tool_calls"
    why = text(table(reply.get("incomplete_details")).get("reason"))
    if why == "content_filter":
        return "content_filter"
    return "length" if why else "stop"


def _usage(said: Body, request: Request, answer: str) -> Usage:
    """What the server counted; a missing count is estimated."""
    prompt, completion = count(said.get("input_tokens")), count(said.get("output_tokens"))
    if prompt is None:
        prompt = sum(estimate_tokens(message.content) for message in request.messages)
    cached = count(table(said.get("input_tokens_details")).get("cached_tokens")) or 0
    return Usage(
        calls=1,
        prompt_tokens=prompt,
        cached_tokens=min(cached, prompt),
        completion_tokens=estimate_tokens(answer) if completion is None else completion,
    )
