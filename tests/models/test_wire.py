"""What comes over the wire, in any pieces and of any shape."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from models_kit import ask

from atlas.models.sse import EventParser, Gathered
from atlas.models.text import one_line, redact, scrub, scrubbed_message
from atlas.models.wire import Reply, decode, dump, parse, response_format
from atlas.schema import Completion, Message, ToolCall
from atlas.schema.errors import ModelBadReply

any_text = st.text(st.characters(exclude_categories=()))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
wire_key = st.sampled_from(
    [
        "choices",
        "message",
        "content",
        "tool_calls",
        "function",
        "id",
        "name",
        "arguments",
        "usage",
        "prompt_tokens",
        "error",
        "model",
        "token_ids",
    ]
)
wire_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(wire_key, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))), st.data())
def test_events_survive_any_split(texts: list[str], data: st.DataObject) -> None:
    raw = b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)
    parser, found = EventParser(), []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        found += parser.feed(raw[:size])
        raw = raw[size:]
    assert [each.decode() for each in found] == texts


def test_a_last_event_without_its_empty_line_is_heard() -> None:
    parser = EventParser()
    assert parser.feed(b"event: x\r\ndata: a\r\ndata:b\r\n\r\n: comment\n\ndata: last") == [b"a\nb"]
    assert parser.finish() == [b"last"]


@given(wire_json | any_json)
def test_any_reply_becomes_a_completion_or_a_bad_reply(value: Any) -> None:
    raw = json.dumps(value).encode()
    try:
        completion = decode(parse(raw, Reply, "host"), ask(), "host")
    except ModelBadReply as error:
        message = str(error)
    else:
        message = completion.message.role
        Completion.model_validate_json(completion.model_dump_json())
    assert len(message.splitlines()) == 1


@given(st.lists(wire_json, max_size=5))
def test_any_stream_becomes_a_completion_or_a_bad_reply(values: list[Any]) -> None:
    gathered = Gathered()
    try:
        for value in values:
            gathered.add(parse(json.dumps({"choices": [{"delta": value}]}), Reply, "host"))
        completion = decode(gathered.reply(), ask(), "host")
    except ModelBadReply:
        return
    Completion.model_validate_json(completion.model_dump_json())


@given(st.binary())
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        parse(raw, Reply, "host")
    except ModelBadReply:
        return


def test_a_call_without_an_index_is_continued_and_a_new_name_begins_another() -> None:
    gathered = Gathered()
    for function in ({"name": "a", "arguments": "{"}, {"arguments": "}"}, {"name": "b", "arguments": "{}"}):
        gathered.add(Reply.model_validate({"choices": [{"delta": {"tool_calls": [{"function": function}]}}]}))
    calls = decode(gathered.reply(), ask(), "host").message.tool_calls
    assert [(call.id, call.name, call.arguments) for call in calls] == [("call_0", "a", "{}"), ("call_1", "b", "{}")]


@given(any_text)
def test_every_text_can_be_sent_and_stored(text: str) -> None:
    assert json.loads(dump({"text": text})) == {"text": scrub(text)}
    assert scrub(scrub(text)) == scrub(text)
    message = scrubbed_message(
        Message(role="assistant", content=text, tool_calls=(ToolCall(id="1", name=text, arguments=text),))
    )
    Message.model_validate_json(message.model_dump_json())


@given(any_text)
def test_one_line_is_one_short_line(text: str) -> None:
    line = one_line(text, 50)
    assert len(line) <= 50
    assert len(line.splitlines()) <= 1


def test_secrets_are_taken_out() -> None:
    assert redact("key sk-1 and sk-1", ["sk-1"]) == "key [secret] and [secret]"


def test_a_schema_is_strict_only_where_every_object_is_closed() -> None:
    closed: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    inner = {**closed, "properties": {"x": {"type": "object"}}, "required": ["x"]}
    array = {**closed, "properties": {"x": {"type": "array", "items": closed}}, "required": ["x"]}
    strict = [response_format(schema)["json_schema"]["strict"] for schema in (closed, inner, array)]
    assert strict == [True, False, True]


def test_only_keywords_are_left_out_of_a_strict_schema() -> None:
    schema = {"properties": {"title": {"title": "T", "enum": ["default"], "minLength": 1}}, "title": "X"}
    assert response_format(schema)["json_schema"]["schema"] == {"properties": {"title": {"enum": ["default"]}}}
