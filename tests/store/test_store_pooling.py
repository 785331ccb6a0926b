"""Every string and number survives storing, and a long text is stored once."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from atlas.schema import Attempt, Body, Message, Noun, Task
from atlas.schema.events import Answered, Attempted, SessionStarted
from atlas.store.pooling import ESC, Bodies, Pool, escape, unescape

BODY: TypeAdapter[Body] = TypeAdapter(Body)
anything = st.text(st.characters(exclude_categories=()), max_size=200)
odd = st.text(
    st.sampled_from(["\x00", "\ud800", "\udfff", ESC, "e", "0", "u", "r", "1", ":", ";", "\\", '"', "n", "é", "😀"])
)
texts = st.one_of(anything, odd, st.builds(lambda text, times: text * times, odd, st.integers(1, 40)))
leaves = st.one_of(texts, st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.booleans(), st.none())
payloads = st.dictionaries(
    texts, st.recursive(leaves, lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4))
)


def through(bodies: list[Any]) -> list[Any]:
    """What comes back when these bodies are stored in order."""
    pool = Pool()
    stored = {seq: pool.encode(seq, body).decode() for seq, body in enumerate(bodies, start=1)}
    restored = Bodies(stored)
    return [restored.body(seq) for seq in stored]


def same(left: Any, right: Any) -> bool:
    """Equal, types and the sign of zero included; NaN equals NaN."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and repr(left) == repr(right)


@given(texts)
def test_an_escaped_text_is_storable_and_comes_back(text: str) -> None:
    stored = escape(text)
    assert "\x00" not in stored
    stored.encode()
    assert unescape(stored) == text


@given(st.lists(st.one_of(texts, st.text(min_size=70, max_size=120)), min_size=1, max_size=8))
def test_any_strings_come_back_also_when_they_contain_each_other(parts: list[str]) -> None:
    outputs = [*parts, "".join(parts), " ".join(reversed(parts)), "".join(parts) * 2, *parts]
    bodies = [Attempted(attempt=Attempt(output=output)) for output in outputs]
    restored = [BODY.validate_python(body) for body in through(bodies)]
    assert restored == bodies


@given(payloads)
def test_any_payload_comes_back(payload: dict[str, Any]) -> None:
    back = through([SessionStarted(task=Task(prompt="p", payload=payload), metadata=payload)])[0]
    assert same(back["task"]["payload"], payload)
    assert same(back["metadata"], payload)


@given(texts, texts)
def test_a_text_that_looks_like_a_reference_is_no_reference(one: str, two: str) -> None:
    real = "a long text that the pool will surely remember, since it is long enough " * 2
    forged = f"{one}{ESC}r1:answer;{two}"
    bodies = [Answered(answer=real), Answered(answer=forged), Answered(answer=forged + real + forged)]
    assert [body["answer"] for body in through(bodies)] == [body.answer for body in bodies]


def test_a_text_is_stored_once_whole_or_as_part() -> None:
    answer = "The total of the three invoices is sixty, which I have checked twice; see the table below."
    pool = Pool()
    first = pool.encode(1, Answered(answer=answer)).decode()
    again = pool.encode(2, Answered(answer=answer)).decode()
    inside = pool.encode(3, Answered(answer=f"<work>\n{answer}\n</work> and {answer}")).decode()
    assert answer in first
    assert answer not in again
    assert answer not in inside
    assert json.loads(inside)["answer"] == f"<work>\n{ESC}r1:answer;\n</work> and {ESC}r1:answer;"


def test_short_and_ordinary_texts_stay_as_they_are() -> None:
    stored = json.loads(Pool().encode(1, Answered(answer="sixty – 60 €\n")))
    assert stored == {"type": "answered", "answer": "sixty – 60 €\n", "accepted": None}


def test_a_key_with_a_slash_makes_no_reference() -> None:
    text = "x" * 100
    bodies = [
        SessionStarted(task=Task(prompt="p", payload={"a/b": text, "c": {"d;e": text}})),
        Answered(answer=text),
    ]
    assert through(bodies)[1]["answer"] == text


def test_a_noun_alone_holds_no_reference() -> None:
    class Twice(Noun):
        one: Message
        two: Message

    said = Message(role="user", content="the same long sentence, said twice in one noun, as prompts often are" * 2)
    stored = Pool().alone(Twice(one=said, two=said))
    assert ESC not in stored
    assert stored.count(said.content) == 2


def test_an_event_that_comes_again_does_not_refer_to_itself() -> None:
    text = "a long text that was encoded once, but then the disk was full and nobody took the event"
    pool = Pool()
    pool.encode(1, Answered(answer=text))
    again = pool.encode(1, Answered(answer=text)).decode()
    assert json.loads(again)["answer"] == text
    assert ESC in pool.encode(2, Answered(answer=text)).decode()
