"""Merging: itemised, nothing lost, order does not matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.memory import entry_id, merged, next_version, rolled_back
from atlas.schema import Cue, Entry, Evidence, Playbook, Provenance

EntryOf = Callable[..., Entry]
BookOf = Callable[..., Playbook]

STATES = st.sampled_from(["candidate", "trial", "active", "retired", "quarantined"])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    cue, action = Cue(text=draw(st.sampled_from("abcd"))), draw(st.sampled_from("wxyz"))
    return Entry(
        id=entry_id("student", cue, action),
        audience="student",
        cue=cue,
        action=action,
        provenance=Provenance(sessions=(draw(st.sampled_from(["s1", "s2", "s3"])),)),
        state=draw(STATES),
    )


deltas = st.lists(entries(), max_size=4, unique_by=lambda entry: entry.id)


def by_id(found: tuple[Entry, ...]) -> dict[str, Entry]:
    return {entry.id: entry for entry in found}


@given(deltas, deltas, deltas)
def test_the_order_of_deltas_that_share_no_entry_does_not_matter(
    book: list[Entry], one: list[Entry], two: list[Entry]
) -> None:
    two = [entry for entry in two if entry.id not in {other.id for other in one}]
    left = merged(merged(book, one, 100), two, 100)
    right = merged(merged(book, two, 100), one, 100)
    assert by_id(left) == by_id(right)


@given(deltas, deltas)
def test_nothing_is_dropped_and_no_old_text_changes(book: list[Entry], delta: list[Entry]) -> None:
    after = by_id(merged(book, delta, 100))
    assert set(after) == {entry.id for entry in (*book, *delta)}
    for entry in book:
        kept = after[entry.id]
        assert (kept.cue, kept.action, kept.audience) == (entry.cue, entry.action, entry.audience)
        assert set(kept.provenance.sessions) >= set(entry.provenance.sessions)


@given(deltas, deltas)
def test_merging_twice_is_merging_once(book: list[Entry], delta: list[Entry]) -> None:
    once = merged(book, delta, 100)
    assert merged(once, delta, 100) == once


@given(deltas, deltas, st.integers(1, 6))
def test_the_bound_never_costs_what_acts_or_is_locked_away(book: list[Entry], delta: list[Entry], bound: int) -> None:
    after = by_id(merged(book, delta, bound))
    kept = {entry.id for entry in book if entry.state in ("trial", "active", "quarantined")}
    assert kept <= set(after)
    assert len(after) <= max(bound, len(book))


def test_the_oldest_candidates_make_room(entry_of: EntryOf) -> None:
    book = [
        entry_of(action=name, id=name, state="candidate", provenance=Provenance(sessions=(name,))) for name in "bca"
    ]
    new = entry_of(action="d", id="d", provenance=Provenance(sessions=("d",)))
    assert [entry.id for entry in merged(book, [new], 3)] == ["b", "c", "d"]


def test_the_same_lesson_in_other_words_of_space_and_case_is_one() -> None:
    one = entry_id("student", Cue(text="Gift  card"), "Use pay(id).")
    assert one == entry_id("student", Cue(text="gift card"), "use  PAY(id)")
    assert one != entry_id("teacher", Cue(text="gift card"), "use pay(id)")
    assert one != entry_id("student", Cue(text="gift card"), "use pay(sum)")


@pytest.mark.parametrize(
    ("old", "new", "then"),
    [
        ("candidate", "trial", "trial"),
        ("retired", "trial", "trial"),
        ("quarantined", "trial", "quarantined"),
        ("retired", "candidate", "retired"),
        ("trial", "candidate", "trial"),
        ("active", "trial", "active"),
    ],
)
def test_only_a_verified_twin_lifts_an_entry_and_never_out_of_quarantine(
    old: str, new: str, then: str, entry_of: EntryOf
) -> None:
    seen = Evidence(n_with=9, failures_with=9, failures_in_row=9)
    before = entry_of(state=old, evidence=seen, reason="old", provenance=Provenance(sessions=("s1",), author="a"))
    twin = entry_of(state=new, reason="new", provenance=Provenance(sessions=("s2",), author="b"))
    (after,) = merged([before], [twin], 100)
    assert (after.state, after.provenance.sessions, after.provenance.author) == (then, ("s1", "s2"), "a")
    lifted = old in ("candidate", "retired") and new == "trial"
    assert after.evidence == (Evidence() if lifted else seen)
    assert after.reason == ("new" if lifted else "old")


def test_another_action_for_the_same_cue_stands_beside_the_old_one(entry_of: EntryOf) -> None:
    old, new = entry_of(action="a", state="active"), entry_of(action="b")
    assert merged([old], [new], 100) == (old, new)


def test_provenance_names_only_the_newest_sessions(entry_of: EntryOf) -> None:
    book: tuple[Entry, ...] = ()
    for number in range(50):
        book = merged(book, [entry_of(provenance=Provenance(sessions=(f"s{number:02}",)))], 100)
    assert book[0].provenance.sessions == tuple(f"s{number:02}" for number in range(30, 50))


def test_rolling_back_is_a_new_version_with_the_old_bytes(entry_of: EntryOf, book_of: BookOf) -> None:
    old = book_of(entry_of())
    new = next_version(old, (entry_of(state="quarantined"),))
    again = rolled_back([new, old], 3)
    assert (again.version, again.entries, again.identity) == (5, old.entries, old.identity)
    with pytest.raises(ValueError, match="version 9"):
        rolled_back([new, old], 9)
