"""Lessons that harm together are withdrawn together; and no rewrite drops more than a fifth unasked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.memory import MemoryRules, PlaybookMemory, loses_too_much, lost, next_version, rolled_back, withdrawn
from atlas.memory.rollback import harm, together
from atlas.models import Caller
from atlas.schema import Background, Entry, Evidence, Playbook, Recalled, Reward, Session, Task

EntryOf = Callable[..., Entry]
BookOf = Callable[..., Playbook]
SessionOf = Callable[..., Session]


def seen(shown: int, held: int, odds: float = 0.8) -> Recalled:
    entries = [
        Entry.model_validate({"id": f"s{n}", "audience": "student", "cue": {}, "action": "x"}) for n in range(shown)
    ]
    names = [f"h{n}" for n in range(held)]
    every = [*(entry.id for entry in entries), *names]
    return Recalled(
        audience="student",
        version=3,
        shown=tuple(entries),
        held_out=tuple(names),
        propensities=tuple((name, odds) for name in every),
    )


def test_a_session_speaks_for_all_lessons_only_when_it_saw_all_or_none() -> None:
    assert together(Evidence(), seen(2, 0), 1.0).n_with == 1
    assert together(Evidence(), seen(0, 2), 1.0).n_without == 1
    assert together(Evidence(), seen(1, 1), 1.0) == Evidence()
    assert together(Evidence(), seen(0, 0), 1.0) == Evidence()
    always = together(Evidence(), seen(1, 0, odds=1.0), 0.0)
    assert (always.n_with, always.log_e_harm) == (1, 0.0)


@given(st.floats(0.1, 0.9), st.integers(1, 4), st.floats(0, 1))
def test_given_all_or_none_the_bet_is_fair(odds: float, lessons: int, rate: float) -> None:
    everything, nothing = odds**lessons, (1 - odds) ** lessons
    before = Evidence(n_with=9, successes_with=4, n_without=5, successes_without=4)
    mean = 0.0
    for chance, recalled in ((everything, seen(lessons, 0, odds)), (nothing, seen(0, lessons, odds))):
        for reward, likely in ((1.0, rate), (0.0, 1 - rate)):
            after = together(before, recalled, reward)
            mean += chance / (everything + nothing) * likely * np.exp(after.log_e_harm)
    assert mean == pytest.approx(1.0)


def test_what_came_with_the_last_change_is_withdrawn(entry_of: EntryOf, book_of: BookOf) -> None:
    before = book_of(entry_of(id="old", state="active"), version=4)
    now = book_of(entry_of(id="old", state="active"), entry_of("x", id="new"), entry_of("y", id="c", state="candidate"))
    back = withdrawn(now, before, "it harms")
    assert {entry.id: entry.state for entry in back.entries} == {
        "old": "active",
        "new": "quarantined",
        "c": "candidate",
    }
    assert (back.version, back.since, back.evidence) == (now.version, now.version, Evidence())
    assert back.origin == "rollback to the lessons of version 4: it harms"
    assert "rolled back: it harms" in back.entries[1].reason


@pytest.mark.parametrize(("states", "left"), [(("active", "trial"), {"0"}), (("active", "active"), set())])
def test_where_a_lesson_had_left_the_others_go(
    states: tuple[str, ...], left: set[str], entry_of: EntryOf, book_of: BookOf
) -> None:
    now = book_of(*(entry_of(str(n), id=str(n), state=state) for n, state in enumerate(states)))
    assert {entry.id for entry in withdrawn(now, now, "harm").acting} == left


async def test_lessons_that_harm_only_together_are_rolled_back_by_themselves(
    entry_of: EntryOf, session_of: SessionOf, caller: Caller
) -> None:
    """Ten lessons for ten kinds of task, each of which costs thirty points and none of which is often seen."""
    memory = PlaybookMemory(MemoryRules(holdout_trial=0.5, harm_e=20.0, streak_chance=1e-12))
    words = [f"word{n}" for n in range(10)]
    book = Playbook(
        key="default", audience="student", version=1, since=1, entries=tuple(entry_of(word, id=word) for word in words)
    )
    rng, sessions = np.random.default_rng(1), 0
    while memory.harm(book) is None:
        sessions += 1
        task = Task(prompt=f"a {words[sessions % 10]}")
        background = Background(student=book, teacher=Playbook(key="default", audience="teacher"))
        recalled, _ = memory.recall(task, background, f"s{sessions}")
        value = float(rng.random() < (0.6 if recalled.shown else 0.9))
        reward = Reward(value=value, source="check")
        session = session_of(task=task, reward=reward, student_memory=recalled)
        (book,) = await memory.learn(session, background, caller)
        assert sessions < 200
    assert all(entry.state == "trial" for entry in book.entries), "none was found guilty alone"
    back = withdrawn(book, Playbook(key="default", audience="student"), memory.harm(book) or "")
    assert back.acting == ()
    assert memory.harm(back) is None


def test_what_was_measured_together_ends_with_a_change_of_what_acts(entry_of: EntryOf, book_of: BookOf) -> None:
    old = book_of(entry_of(id="a"), evidence=Evidence(n_with=5), since=2)
    promoted = next_version(old, (entry_of(id="a", state="active"),))
    assert (promoted.evidence.n_with, promoted.since) == (5, 2)
    grown = next_version(promoted, (*promoted.entries, entry_of("x", id="b")))
    assert (grown.evidence, grown.since) == (Evidence(), grown.version)
    assert harm(old, MemoryRules()) is None


def test_a_rewrite_may_not_drop_more_than_a_fifth_of_the_active_lessons(entry_of: EntryOf, book_of: BookOf) -> None:
    old = book_of(*(entry_of(str(n), id=str(n), state="active") for n in range(10)), entry_of("t", id="t"))
    two_less = next_version(old, old.entries[2:])
    three_less = next_version(old, old.entries[3:])
    asleep = next_version(old, tuple(entry.model_copy(update={"state": "retired"}) for entry in old.entries))
    assert not loses_too_much(old, two_less)
    assert loses_too_much(old, three_less)
    assert loses_too_much(old, asleep)
    assert lost(old, three_less) == ("0", "1", "2")
    assert not loses_too_much(old, next_version(old, old.entries[:10])), "one in trial is none of them"
    assert not loses_too_much(rolled_back([old], 3), old)
