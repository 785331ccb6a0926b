"""Recall: few entries, the right ones, never another tenant's, and an honest lottery."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.memory import MemoryRules
from atlas.memory.recall import matches, recall
from atlas.memory.text import folded, occurs
from atlas.schema import Cue, Entry, Evidence, Playbook, Provenance, Task

EntryOf = Callable[..., Entry]
BookOf = Callable[..., Playbook]
OPEN = MemoryRules(holdout_trial=0.0, holdout_active=0.0)
TASK = Task(prompt="Please refund order 7.")


def shown(task: Task, book: Playbook, rules: MemoryRules = OPEN, session_id: str = "s") -> list[str]:
    return [entry.id for entry in recall(task, book, session_id, rules).shown]


@pytest.mark.parametrize(
    ("cue", "prompt", "found"),
    [
        ("refund", "REFUND it", True),
        ("refund", "(refund)", True),
        ("refund", "refunds", False),
        ("refund", "prerefund refund", True),
        ("refund", "a_refund", False),
        ("gift card", "a gift\n  card", True),
        ("c++", "in C++ please", True),
        ("stra\u00dfe", "STRASSE 5", True),
        ("caf\u00e9", "cafe\u0301 bar", True),
        ("7", "order 7.", True),
        ("7", "order 77", False),
        ("", "anything", False),
        (".*", "anything", False),
        (".*", "a .* b", True),
    ],
)
def test_cues_match_words_not_patterns(cue: str, prompt: str, found: bool) -> None:
    assert matches(Cue(text=cue), folded(prompt)) is found


@given(st.text(min_size=1), st.text(), st.text())
def test_a_cue_between_spaces_is_always_found(cue: str, before: str, after: str) -> None:
    words = folded(cue)
    if words:
        assert occurs(words, folded(f"{before} {cue} {after}"))


@pytest.mark.parametrize(
    ("state", "seen"),
    [("candidate", False), ("trial", True), ("active", True), ("retired", False), ("quarantined", False)],
)
def test_only_trial_and_active_entries_reach_a_prompt(
    state: str, seen: bool, entry_of: EntryOf, book_of: BookOf
) -> None:
    assert bool(shown(TASK, book_of(entry_of(state=state)))) is seen


@pytest.mark.parametrize("field", [{"tenant": "other"}, {"key": "other"}])
def test_nothing_of_another_tenant_or_key_is_shown(field: dict[str, str], entry_of: EntryOf, book_of: BookOf) -> None:
    found = recall(TASK, book_of(entry_of(), **field), "s", OPEN)
    assert (found.version, found.shown, found.propensities) == (0, (), ())


def test_an_entry_for_the_other_reader_is_not_shown(entry_of: EntryOf, book_of: BookOf) -> None:
    assert not shown(TASK, book_of(entry_of(audience="teacher")))


def test_at_most_three_the_most_trusted_first(entry_of: EntryOf, book_of: BookOf) -> None:
    good = Evidence(n_with=9, successes_with=9)
    book = book_of(
        entry_of("order", id="untrusted", trust=0.2),
        entry_of("", "always count twice", id="always", trust=0.6),
        entry_of("order 7", id="long", trust=0.6),
        entry_of("please", id="proven", trust=0.6, evidence=good),
        entry_of("7", id="trusted", trust=0.9),
    )
    assert shown(TASK, book) == ["trusted", "proven", "long"]
    assert shown(TASK, book, OPEN.model_copy(update={"max_shown": 0})) == []


def test_the_token_budget_holds(entry_of: EntryOf, book_of: BookOf) -> None:
    book = book_of(entry_of("refund", "x" * 700, id="long", trust=0.9), entry_of("order", "ask", id="short", trust=0.1))
    rules = OPEN.model_copy(update={"max_tokens": 100})
    assert shown(TASK, book, rules) == ["short"]


def test_of_two_entries_with_one_cue_the_better_record_is_shown(entry_of: EntryOf, book_of: BookOf) -> None:
    poor, rich = Evidence(n_with=9, successes_with=2), Evidence(n_with=4, successes_with=4)
    book = book_of(
        entry_of("Refund", "a", id="rich", evidence=rich),
        entry_of("refund", "b", id="poor", evidence=poor, trust=0.9),
    )
    assert shown(TASK, book) == ["rich"]


def test_of_two_equal_entries_with_one_cue_the_newest_is_shown(entry_of: EntryOf, book_of: BookOf) -> None:
    new, old = Provenance(sessions=("0190b",)), Provenance(sessions=("0190a",))
    book = book_of(entry_of(action="a", id="new", provenance=new), entry_of(action="b", id="old", provenance=old))
    assert shown(TASK, book) == ["new"]


def test_chance_withholds_its_share_and_the_record_says_so(entry_of: EntryOf, book_of: BookOf) -> None:
    rules = MemoryRules(holdout_trial=0.3, holdout_active=0.1)
    book = book_of(entry_of(id="t"), entry_of("order", id="a", state="active"))
    seen = [recall(TASK, book, f"session {number}", rules) for number in range(2000)]
    assert dict(seen[0].propensities) == {"t": 0.7, "a": 0.9}
    for name, share in (("t", 0.3), ("a", 0.1)):
        assert sum(name in one.held_out for one in seen) / 2000 == pytest.approx(share, abs=0.03)
    assert all(len(one.shown) + len(one.held_out) == 2 for one in seen)
    both = sum(len(one.held_out) == 2 for one in seen) / 2000
    assert both == pytest.approx(0.03, abs=0.012), "the lots of two entries are independent"


def test_a_resumed_session_sees_the_same(entry_of: EntryOf, book_of: BookOf) -> None:
    rules = MemoryRules(holdout_trial=0.5)
    book = book_of(*(entry_of("", f"do {n}", id=str(n)) for n in range(1)), entry_of(id="x"))
    assert recall(TASK, book, "abc", rules) == recall(TASK, book, "abc", rules)


def test_who_is_withheld_does_not_let_others_in(entry_of: EntryOf, book_of: BookOf) -> None:
    """The choice comes before chance: else the fourth entry's probability would depend on the others' lots."""
    book = book_of(*(entry_of(cue, id=cue, trust=0.9) for cue in ("please", "refund", "order")), entry_of("7", id="7"))
    rules = MemoryRules(holdout_trial=0.5)
    assert all("7" not in shown(TASK, book, rules, f"session {n}") for n in range(200))
