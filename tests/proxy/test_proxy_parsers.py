"""No body, however strange, makes a parser raise anything but what it says it raises."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from proxy_kit import user
from test_proxy_faults import strange

from atlas.proxy.anthropic import Messages
from atlas.proxy.base import Dialect, Unreadable
from atlas.proxy.calls import read
from atlas.proxy.chat import Chat
from atlas.proxy.responses import Responses
from atlas.schema import Cue, Entry, Message, Recalled, Request
from atlas.schema.errors import ModelError

INPUTS = 3_000
ASKED = Request(messages=(Message(role="user", content="x"),))
LESSON = Entry(id="e", audience="student", cue=Cue(text="x"), action="Do it.", state="active")
RECALLED = Recalled(audience="student", version=1, shown=(LESSON,))
KINDS = (
    *("message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error"),
    "response.completed",
)
ITEMS = ("function_call", "message", "function_call_output", "reasoning", "custom_tool_call")
NAMES = ("tools", "system", "instructions", "tool_choice", "response_format", "text", "max_tokens", "temperature")


def a_request(chance: random.Random) -> dict[str, Any]:
    role = chance.choice(["user", "assistant", "tool", "system", "developer"])
    turn = {"role": role, "content": strange(chance), "tool_calls": strange(chance)}
    item = {"type": chance.choice(ITEMS), "role": role, "content": strange(chance), "output": strange(chance)}
    messages = [chance.choice([turn, user("x")]), strange(chance)][: chance.choice([1, 1, 2])]
    given = chance.choice([strange(chance), [strange(chance), item]])
    return {"messages": messages, "input": given} | {name: strange(chance) for name in NAMES}


def a_reply(chance: random.Random, *, streamed: bool) -> bytes:
    if not streamed:
        choices = [{"message": strange(chance), "finish_reason": strange(chance)}]
        names = ("output", "content", "usage", "error", "id")
        return json.dumps({"choices": choices} | {name: strange(chance) for name in names}).encode()
    names = ("index", "message", "delta", "content_block", "usage", "response", "error")
    pieces = [
        {"type": chance.choice(KINDS), "choices": [{"delta": strange(chance), "finish_reason": strange(chance)}]}
        | {name: strange(chance) for name in names}
        for _ in range(4)
    ]
    return b"".join(b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces)


@pytest.mark.parametrize("dialect", [Chat(), Responses(), Messages()], ids=["chat", "responses", "messages"])
def test_strange_bodies_are_read_or_refused(dialect: Dialect) -> None:
    chance = random.Random(11)
    known = 0
    for number in range(INPUTS):
        body = read(json.dumps(a_request(chance)).encode())
        try:
            request = dialect.request(body)
        except Unreadable:
            continue
        known += 1
        dialect.labels(body)
        request.model_dump_json()
        taught = dialect.request(dialect.with_playbook(body, RECALLED))
        assert any("Do it." in message.content for message in taught.messages)
        more = dialect.request(dialect.with_more(body, [Message(role="user", content=f"more {number}")]))
        assert more.messages[-1].content == f"more {number}"
    assert known > INPUTS / 10


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("dialect", [Chat(), Responses(), Messages()], ids=["chat", "responses", "messages"])
def test_strange_replies_are_read_or_named(dialect: Dialect, streamed: bool) -> None:
    chance = random.Random(13)
    for _ in range(INPUTS):
        raw = a_reply(chance, streamed=streamed)
        dialect.reply_id(raw)
        try:
            dialect.completion(raw, ASKED, streamed=streamed).model_dump_json()
        except ModelError:
            continue
