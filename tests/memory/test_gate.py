"""The gate: what enters, what stays, what goes, and why it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from atlas.memory import Lesson, MemoryRules, reviewed
from atlas.memory.gate import guidance_worked, observed, outcome, proposed, streak_chance
from atlas.memory.recall import recall
from atlas.schema import (
    Attempt,
    Entry,
    Evidence,
    Playbook,
    Recalled,
    Review,
    Reward,
    Session,
    StepReward,
    Task,
)

EntryOf = Callable[..., Entry]
BookOf = Callable[..., Playbook]
SessionOf = Callable[..., Session]
LESSON = Lesson(audience="student", cue="refund", action="name the sum first")
RULES = MemoryRules()

GUIDED = (Attempt(output="bad"), Attempt(number=2, output="good", guidance="Name the sum."))
STEPS = (
    Attempt(step=1, output="good"),
    Attempt(step=2, output="bad"),
    Attempt(step=2, number=2, output="good", guidance="Name the sum."),
)


def rejected(step: int = 0, attempt: int = 1) -> Review:
    target: Any = "step" if step else "answer"
    return Review(target=target, step=step, attempt=attempt, accepted=False, guidance="Name the sum.")


def dense(*values: float) -> Reward:
    steps = tuple(StepReward(step=0, attempt=number, value=value) for number, value in enumerate(values, start=1))
    return Reward(value=values[-1], source="check", steps=steps)


VERIFIED: dict[str, tuple[dict[str, Any], bool]] = {
    "the teacher rejected, guidance, the check passes": ({"attempts": GUIDED, "reviews": (rejected(),)}, True),
    "a step of a plan": ({"attempts": STEPS, "reviews": (rejected(step=2),)}, True),
    "the check saw both": ({"attempts": GUIDED, "reward": dense(0.0, 1.0)}, True),
    "the first try was right all along": (
        {"attempts": GUIDED, "reviews": (rejected(),), "reward": dense(1.0, 1.0)},
        False,
    ),
    "it failed in the end": ({"attempts": GUIDED, "reviews": (rejected(),), "value": 0.0}, False),
    "only a model says so": ({"attempts": GUIDED, "reviews": (rejected(),), "source": "judges"}, False),
    "an arbiter says so": ({"attempts": GUIDED, "reviews": (rejected(),), "source": "arbiter"}, False),
    "nobody could tell": ({"attempts": GUIDED, "reviews": (rejected(),), "value": None}, False),
    "no guidance": ({"reviews": (rejected(),)}, False),
    "nobody saw a failure": ({"attempts": GUIDED}, False),
    "another step was guided": ({"attempts": STEPS, "reviews": (rejected(step=1),)}, False),
    "only the plan was rejected": (
        {"attempts": GUIDED, "reviews": (Review(target="plan", accepted=False, guidance="x"),)},
        False,
    ),
}


@pytest.mark.parametrize(("fields", "verified"), VERIFIED.values(), ids=VERIFIED.keys())
def test_a_lesson_enters_trial_only_behind_an_executed_check(
    fields: dict[str, Any], verified: bool, session_of: SessionOf
) -> None:
    session = session_of(**fields)
    assert guidance_worked(session) is verified
    entry = proposed(LESSON, session, "curator", RULES)
    assert entry.state == ("trial" if verified else "candidate")
    assert ("waits for review" in entry.reason) is not verified
    assert entry.provenance.sessions == (session.id,)
    assert proposed(LESSON, session, "curator", MemoryRules(gate="review")).state == "candidate"


def test_trust_follows_the_evidence_behind_the_session(session_of: SessionOf) -> None:
    verified = proposed(LESSON, session_of(attempts=GUIDED, reviews=(rejected(),)), "c", RULES)
    rest = [proposed(LESSON, session_of(source=source), "c", RULES).trust for source in ("check", "arbiter", "judges")]
    assert [verified.trust, *rest] == sorted([verified.trust, *rest], reverse=True)


@pytest.mark.parametrize(
    ("fields", "student", "teacher"),
    [
        ({}, 1.0, 1.0),
        ({"value": 0.3}, 0.3, 0.3),
        ({"value": None}, None, None),
        ({"attempts": GUIDED, "reviews": (rejected(),)}, 0.0, 1.0),
        ({"attempts": GUIDED, "reward": dense(0.25, 1.0)}, 0.25, 1.0),
        ({"attempts": GUIDED, "reviews": (rejected(),), "reward": dense(1.0, 1.0)}, 1.0, 1.0),
    ],
)
def test_rescue_by_the_teacher_does_not_count_for_the_students_entries(
    fields: dict[str, Any], student: float | None, teacher: float | None, session_of: SessionOf
) -> None:
    session = session_of(**fields)
    assert (outcome(session, "student"), outcome(session, "teacher")) == (student, teacher)


def told(entry: Entry, *, shown: bool = True, odds: float = 0.8) -> Recalled:
    return Recalled(
        audience="student",
        version=1,
        shown=(entry,) if shown else (),
        held_out=() if shown else (entry.id,),
        propensities=((entry.id, odds),),
    )


def live(entry: Entry, rewards: list[tuple[bool, float]], rules: MemoryRules = RULES) -> Entry:
    for shown, reward in rewards:
        (entry,) = observed((entry,), told(entry, shown=shown), reward, rules)
    return entry


def test_only_what_matched_and_acts_gets_evidence(entry_of: EntryOf) -> None:
    matched, other = entry_of(), entry_of("order")
    asleep = entry_of("seven", state="candidate")
    recalled = told(matched).model_copy(update={"propensities": ((matched.id, 0.8), (asleep.id, 0.8))})
    after = observed((matched, other, asleep), recalled, 1.0, RULES)
    assert after[0].evidence.n_with == 1
    assert after[1:] == (other, asleep)


def test_a_trial_that_helps_becomes_active_and_says_why(entry_of: EntryOf) -> None:
    entry = live(entry_of(), [(True, 1.0), (True, 1.0), (True, 1.0), (False, 0.0)] * 6)
    assert entry.state == "active"
    assert entry.reason.startswith("it helps: e-value")


def test_an_entry_that_harms_is_quarantined_and_stays_there(entry_of: EntryOf) -> None:
    harm = [(True, 0.0), (True, 0.0), (False, 1.0)] * 8
    for state in ("trial", "active"):
        entry = live(entry_of(state=state), harm)
        assert entry.state == "quarantined"
        assert entry.reason.startswith("it harms: e-value")
        assert live(entry, [(True, 1.0)] * 50) == entry


def test_an_entry_whose_world_has_changed_is_retired_at_once(entry_of: EntryOf) -> None:
    good = entry_of(state="active", evidence=Evidence(n_with=40, successes_with=40))
    assert live(good, [(True, 0.0)] * 2).state == "active"
    assert live(good, [(True, 0.0)] * 3).state == "retired"
    assert "last 3 sessions" in live(good, [(True, 0.0)] * 3).reason


def test_a_fresh_entry_that_never_works_is_retired(entry_of: EntryOf) -> None:
    assert live(entry_of(), [(True, 0.0)] * 13).state == "trial"
    assert live(entry_of(), [(True, 0.0)] * 14).state == "retired"


@pytest.mark.parametrize(
    ("evidence", "chance"),
    [
        (Evidence(), 1.0),
        (Evidence(n_with=3, failures_with=3, failures_in_row=3), 0.125),
        (Evidence(n_with=10, failures_with=3, failures_in_row=2), (1 - 8 / 10) ** 2),
    ],
)
def test_the_chance_of_a_streak_comes_from_the_record_before_it(evidence: Evidence, chance: float) -> None:
    assert streak_chance(evidence) == pytest.approx(chance)


def test_the_named_policy_needs_successes_and_not_one_failure(entry_of: EntryOf) -> None:
    rules = MemoryRules(promote_after=3)
    assert live(entry_of(), [(True, 0.9)] * 3, rules).state == "active"
    assert live(entry_of(), [(True, 0.9)] * 3).state == "trial"
    assert live(entry_of(), [(True, 0.9), (True, 0.0), (True, 0.9), (True, 0.9)], rules).state == "trial"


def test_a_person_approves_or_quarantines(entry_of: EntryOf) -> None:
    book = (entry_of(id="a", state="candidate"), entry_of(id="b", state="quarantined", evidence=Evidence(n_with=9)))
    approved = reviewed(reviewed(book, "a", approved=True, note="read it"), "b", approved=True, note="was a bug")
    assert [(entry.state, entry.evidence) for entry in approved] == [("trial", Evidence())] * 2
    assert reviewed(approved, "a", approved=False, note="no")[0].state == "quarantined"
    with pytest.raises(ValueError, match="is trial already"):
        reviewed(approved, "a", approved=True, note="again")
    with pytest.raises(ValueError, match="no entry x"):
        reviewed(book, "x", approved=True, note="")


def stream(entry: Entry, with_rate: float, without_rate: float, rules: MemoryRules, *, seed: int, sessions: int) -> int:
    """Sessions until the entry leaves its first state, by the real lottery; `sessions` when it never does."""
    generator, task = np.random.default_rng(seed), Task(prompt="a refund")
    state = entry.state
    for number in range(sessions):
        book = Playbook(key="default", audience="student", version=1, entries=(entry,))
        seen = recall(task, book, f"{seed}/{number}", rules)
        rate = with_rate if seen.shown else without_rate
        (entry,) = observed(book.entries, seen, float(generator.random() < rate), rules)
        if entry.state != state:
            return number + 1
    return sessions


def test_a_planted_lesson_that_always_fails_goes_within_fifteen_sessions(entry_of: EntryOf) -> None:
    for state in ("trial", "active"):
        lasted = [stream(entry_of(state=state), 0.0, 1.0, RULES, seed=seed, sessions=100) for seed in range(40)]
        assert np.median(lasted) <= 15


def test_useless_entries_are_seldom_called_helpful(entry_of: EntryOf) -> None:
    """The real lottery, looked at after every session."""
    promoted = 0
    for seed in range(150):
        generator, entry = np.random.default_rng(seed), entry_of()
        for number in range(80):
            book = Playbook(key="default", audience="student", version=1, entries=(entry,))
            seen = recall(Task(prompt="a refund"), book, f"{seed}/{number}", RULES)
            (entry,) = observed(book.entries, seen, float(generator.random() < 0.7), RULES)
        promoted += entry.state == "active"
    assert promoted / 150 <= 0.05


def test_with_many_lessons_the_promotion_by_e_bh_asks_for_more(entry_of: EntryOf) -> None:
    """Ten are measured: one alone needs an e-value of 200 then, and twenty where its neighbours are as good."""
    others = [entry_of(str(n), id=str(n)) for n in range(9)]
    strong = Evidence(n_with=20, successes_with=20, n_without=9, log_e_help=np.log(60.0))
    mine = entry_of(evidence=strong)
    fdr = MemoryRules(promotion="fdr")
    assert observed((mine, *others), told(mine, odds=1.0), 1.0, fdr)[0].state == "trial"
    assert observed((mine, *others), told(mine, odds=1.0), 1.0, RULES)[0].state == "active"
    proven = [entry.model_copy(update={"evidence": strong, "state": "active"}) for entry in others]
    assert observed((mine, *proven), told(mine, odds=1.0), 1.0, fdr)[0].state == "active"
