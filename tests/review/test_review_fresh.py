"""An event is examined by its new texts alone; that finds what examining all of them would find."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from review_kit import story
from test_redaction import core, secrets

from atlas.schema import Body, Task
from atlas.schema.events import Answered, SessionStarted
from atlas.store import safety_of
from atlas.store.pooling import Bodies, Pool

PLAIN = "a long text that says nothing to anybody, which is why it may stand in many places at once, as it does here"
KNOWN = {"BACKEND_PASSWORD": "correct-horse-battery"}
wraps = st.sampled_from(
    ["{}", "\n{}", "{}\n", "\\n{}", '"{}"', "é{}", "\x00{}", "\ueffe{}", "\ud800 {}", f"{PLAIN}\n{{}}"]
)
planted = st.one_of(
    st.sampled_from([(core(kind, text), text) for seed in range(3) for kind, text in secrets(seed).items()]),
    st.just((KNOWN["BACKEND_PASSWORD"], f"use {KNOWN['BACKEND_PASSWORD']} here")),
)


def stored(bodies: list[Body]) -> list[Any]:
    """What comes back of bodies that passed the boundary."""
    boundary, pool = safety_of(environ=KNOWN).boundary, Pool()
    rows = {seq: boundary.encoded(pool, seq, body).decode() for seq, body in enumerate(bodies, start=1)}
    found = Bodies(rows)
    return [found.body(seq) for seq in rows]


@settings(max_examples=150, deadline=None)
@given(planted, wraps, st.integers(0, 11), st.booleans())
def test_a_secret_in_any_event_is_found(secret: tuple[str, str], wrap: str, at: int, alone: bool) -> None:
    gone, text = secret
    bodies = story(PLAIN)
    bodies[at] = story(wrap.replace("{}", text) if alone else f"{PLAIN} {wrap.replace('{}', text)} {PLAIN}")[at]
    told = json.dumps(stored(bodies), ensure_ascii=False)
    assert gone not in told
    assert json.dumps(gone)[1:-1] not in told


@settings(max_examples=40, deadline=None)
@given(planted, st.integers(0, 11))
def test_what_was_found_once_is_found_again(secret: tuple[str, str], at: int) -> None:
    """The pool must not hand on a text as it was before it was cleaned."""
    gone, text = secret
    long = f"{PLAIN} {text} {PLAIN}"
    bodies = [*story(long)[: at + 1], *story(f"Look at this:\n{long}\nand tell.")]
    assert gone not in json.dumps(stored(bodies), ensure_ascii=False)


def test_a_telling_field_of_a_payload_is_enough() -> None:
    for payload in ({"password": "x1"}, {"deep": [{"api_key": "abc"}]}, {"Cookie": "a"}):
        told = stored([SessionStarted(task=Task(prompt="log in"), metadata=payload), Answered(answer="done")])
        assert "[redacted:field]" in json.dumps(told)


@given(st.text(max_size=300))
def test_ordinary_events_come_back_as_they_were(text: str) -> None:
    bodies = story(text)
    boundary = safety_of(environ={}).boundary
    told = stored(bodies)
    assert told == [boundary.noun(body).model_dump(mode="json") for body in bodies]
