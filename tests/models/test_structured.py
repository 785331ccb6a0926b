"""JSON from a model: strictly parsed, repaired once, or no answer at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_kit import PLACE, MemoryTrace, ask

from atlas.models import Caller, ScriptedModel, ask_json, check_schema, parse_object, violation
from atlas.schema import Completion, Message
from atlas.schema.errors import ConfigError, ModelBadReply, ModelUnavailable

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "score": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["accepted"],
    "additionalProperties": False,
}
REQUEST = ask(json_schema=SCHEMA)
GOOD = '{"accepted": true}'


async def accepted(caller: Caller, *replies: Any) -> tuple[bool, ScriptedModel]:
    model = ScriptedModel(replies)
    found = await ask_json(caller, model, REQUEST, PLACE, parse=lambda found: bool(found["accepted"]))
    return found, model


@pytest.mark.parametrize(
    "text", [GOOD, f"  {GOOD}\n", f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```", f"\n```json\r\n{GOOD}\r\n```\n"]
)
async def test_an_object_is_taken_with_white_space_or_one_fence_around_it(caller: Caller, text: str) -> None:
    found, model = await accepted(caller, text)
    assert found
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"Sure! {GOOD}", "not one JSON object"),
        (f"{GOOD} I hope this helps.", "not one JSON object"),
        (f"```json\n{GOOD}\n``` done", "not one JSON object"),
        (f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```", "not one JSON object"),
        (f"{GOOD}{GOOD}", "not one JSON object"),
        ('{"accepted": true, "accepted": false}', "repeats a key"),
        ('{"accepted": true, "score": NaN}', "NaN is not JSON"),
        ('{"accepted": true, "score": -Infinity}', "-Infinity is not JSON"),
        ('{"accepted": true, "score": 1e999}', "too large"),
        ('{"accepted": "true"}', "accepted: "),
        ('{"accepted": 1}', "accepted: "),
        ('{"accepted": true, "score": 1.01}', "score: "),
        ('{"accepted": true, "score": true}', "score: "),
        ('{"accepted": true, "guidance": "x"}', "guidance"),
        ("{}", "required"),
        (f"[{GOOD}]", "not an object"),
        ("true", "not an object"),
        ("{'accepted': True}", "not one JSON object"),
        ('{"accepted": true,}', "not one JSON object"),
        ('{"accepted": true', "not one JSON object"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a":' * 5000, "nested too deeply"),
        ("1" * 10_000, "digits"),
    ],
)
async def test_anything_else_is_named_to_the_model_and_repaired_once(caller: Caller, text: str, problem: str) -> None:
    found, model = await accepted(caller, text, GOOD)
    assert found
    first, second = model.requests
    assert second.messages[: len(first.messages)] == first.messages  # prefix caches still hit
    assert second.messages[-2].content == text[:20_000]
    assert problem in second.messages[-1].content
    assert second.json_schema == SCHEMA


async def test_two_bad_replies_are_no_answer(caller: Caller, trace: MemoryTrace) -> None:
    with pytest.raises(ModelBadReply, match="no usable JSON for answer, twice") as caught:
        await accepted(caller, "no", "never")
    assert caught.value.text == "never"
    assert trace.types == ["model_called", "model_called"]  # both were paid for


async def test_what_parse_refuses_is_repaired_as_well(caller: Caller) -> None:
    def parse(found: dict[str, Any]) -> bool:
        if not found["accepted"]:
            raise ValueError("accepted must be true today")
        return True

    model = ScriptedModel(['{"accepted": false}', GOOD])
    assert await ask_json(caller, model, REQUEST, PLACE, parse=parse)
    assert "must be true today" in model.requests[1].messages[-1].content


async def test_an_answer_that_was_cut_off_is_repaired(caller: Caller) -> None:
    cut = Completion(message=Message(role="assistant", content='{"accepted": tr'), finish_reason="length")
    found, model = await accepted(caller, cut, GOOD)
    assert found
    assert "limit of tokens" in model.requests[1].messages[-1].content


async def test_an_outage_is_not_repaired(caller: Caller) -> None:
    with pytest.raises(ModelUnavailable):
        await accepted(caller, ModelUnavailable("down"), GOOD)


def test_a_wrong_schema_is_a_mistake_of_the_configuration() -> None:
    for schema in ({"type": "objekt"}, {"$ref": "#/nowhere"}, {"properties": 3}):
        with pytest.raises(ConfigError, match="no JSON Schema"):
            check_schema(schema)
    check_schema(SCHEMA)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5), st.sampled_from(["", " ", "\n\t"]), st.booleans())
def test_every_object_is_read_as_it_was_written(value: dict[str, Any], space: str, fenced: bool) -> None:
    text = json.dumps(value)
    assert parse_object(space + (f"```json\n{text}\n```" if fenced else text) + space) == value


@given(st.text(st.characters(exclude_categories=())) | st.text('{}[]",:0123456789eE+-.\\utrfalsn ', max_size=40))
def test_any_text_is_an_object_or_a_problem_in_words(text: str) -> None:
    problem = ""
    try:
        problem = violation(parse_object(text), SCHEMA) or "fits"
    except ValueError as error:
        problem = str(error)
    assert problem


@given(st.dictionaries(st.sampled_from(["accepted", "score", "x"]), json_values, max_size=3), st.text(min_size=1))
def test_prose_around_an_object_is_always_refused(value: dict[str, Any], prose: str) -> None:
    text = json.dumps(value)
    for wrong in (text + "x" + prose, "x" + prose + text):
        with pytest.raises(ValueError, match="not one JSON object"):
            parse_object(wrong)


@given(json_values)
def test_the_check_says_exactly_what_the_schema_says(value: Any) -> None:
    found = {"accepted": value}
    assert (violation(found, SCHEMA) is None) == isinstance(value, bool)
