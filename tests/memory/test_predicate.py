"""Typed cues: conditions on a task that are compared, never run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from atlas.memory import MemoryRules, entry_id
from atlas.memory.recall import matches, one_per_cue, recall
from atlas.memory.text import folded
from atlas.schema import Cue, Entry, Playbook, Predicate, Task

PAYLOAD = {"sum": 120, "client": {"name": "Acme", "tier": 2}, "tags": ["vip", "late"], "paid": True, "note": None}


def cue(**parts: Any) -> Cue:
    return Cue(kind="predicate", text="large refund", when=Predicate(**parts))


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"all_of": ("refund", "order 7")}, True),
        ({"all_of": ("refund", "order 8")}, False),
        ({"any_of": ("chargeback", "REFUND")}, True),
        ({"any_of": ("chargeback",)}, False),
        ({"none_of": ("invoice",)}, True),
        ({"none_of": ("refund",)}, False),
        ({"all_of": ("refund",), "none_of": ("please",)}, False),
        ({"field": "sum", "op": "at_least", "value": 100}, True),
        ({"field": "sum", "op": "at_most", "value": 100}, False),
        ({"field": "sum", "op": "is", "value": 120.0}, True),
        ({"field": "sum", "op": "is", "value": "120"}, False),
        ({"field": "sum", "op": "is_not", "value": 7}, True),
        ({"field": "client.name", "op": "is", "value": "Acme"}, True),
        ({"field": "client.name", "op": "contains", "value": "acme"}, True),
        ({"field": "client.tier", "op": "exists"}, True),
        ({"field": "client.age", "op": "exists"}, False),
        ({"field": "client.name.first", "op": "exists"}, False),
        ({"field": "client.age", "op": "is_not", "value": 7}, False),
        ({"field": "tags", "op": "contains", "value": "vip"}, True),
        ({"field": "tags", "op": "contains", "value": "vi"}, False),
        ({"field": "paid", "op": "is", "value": True}, True),
        ({"field": "paid", "op": "at_least", "value": 0}, False),
        ({"field": "paid", "op": "is", "value": 1}, False),
        ({"field": "note", "op": "exists"}, True),
        ({"all_of": ("refund",), "field": "sum", "op": "at_least", "value": 500}, False),
        ({}, False),
    ],
)
def test_a_condition_holds_or_not(parts: dict[str, Any], found: bool) -> None:
    assert matches(cue(**parts), folded("Please refund order 7."), PAYLOAD) is found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from("abc"), json_values),
    st.sampled_from(["a", "a.b", "a.b.c", ".", ""]),
    st.sampled_from(["is", "is_not", "at_least", "at_most", "contains", "exists"]),
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
)
def test_any_payload_is_answered_with_yes_or_no(payload: dict[str, Any], field: str, op: Any, value: Any) -> None:
    assert matches(cue(field=field, op=op, value=value), "", payload) in (True, False)


def test_only_a_predicate_has_a_condition() -> None:
    with pytest.raises(ValidationError, match="condition"):
        Cue(kind="predicate", text="x")
    with pytest.raises(ValidationError, match="condition"):
        Cue(kind="keyword", text="x", when=Predicate(all_of=("x",)))


def test_a_predicate_is_recalled_by_the_payload_and_told_by_its_name() -> None:
    large = cue(field="sum", op="at_least", value=100)
    entry = Entry(id="e", audience="student", cue=large, action="ask a person", state="active")
    book = Playbook(key="default", audience="student", version=1, entries=(entry,))
    rules = MemoryRules(holdout_active=0.0)
    assert recall(Task(prompt="x", payload={"sum": 100}), book, "s", rules).shown == (entry,)
    assert recall(Task(prompt="x", payload={"sum": 99}), book, "s", rules).shown == ()


def test_predicates_are_told_apart_by_their_condition() -> None:
    one, two = cue(field="sum", op="at_least", value=1), cue(field="sum", op="at_least", value=2)
    assert entry_id("student", one, "a") != entry_id("student", two, "a")
    entries = [Entry(id=str(n), audience="student", cue=each, action="a") for n, each in enumerate((one, two, one))]
    assert len(one_per_cue(entries)) == 2
