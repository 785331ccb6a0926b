"""A lesson that its own session proves wrong is retired at once; one that was not shown, or is proven, is not."""

from __future__ import annotations

from atlas.memory.gate import refuted
from atlas.schema import Cue, Entry, EntryState, Evidence, Recalled


def lesson(action: str, *, state: EntryState = "trial", cue: str = "refund") -> Entry:
    return Entry(id=action, audience="student", cue=Cue(text=cue), action=action, state=state)


def states(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.state for entry in entries]


def test_a_shown_lesson_is_retired_when_the_opposite_is_verified_in_the_same_session() -> None:
    wrong, right = lesson("use post"), lesson("use credit", cue="Refund")
    after = refuted((wrong,), (right,), Recalled(audience="student", version=1, shown=(wrong,)))
    assert states(after) == ["retired"]
    assert "refuted by an executed check" in after[0].reason


def test_a_lesson_that_was_withheld_or_says_the_same_is_left_alone() -> None:
    wrong, right = lesson("use post"), lesson("use credit")
    withheld = Recalled(audience="student", version=1, held_out=(wrong.id,))
    assert states(refuted((wrong,), (right,), withheld)) == ["trial"]
    shown = Recalled(audience="student", version=1, shown=(right,))
    assert states(refuted((right,), (right,), shown)) == ["trial"]


def test_only_a_verified_lesson_refutes_and_only_one_in_trial() -> None:
    wrong, proven = lesson("use post"), lesson("use post", state="active")
    candidate, verified = lesson("use credit", state="candidate"), lesson("use credit")
    shown = Recalled(audience="student", version=1, shown=(wrong,))
    assert states(refuted((wrong,), (candidate,), shown)) == ["trial"]
    assert states(refuted((proven,), (verified,), shown)) == ["active"]


def test_a_lesson_with_a_record_is_not_lost_to_one_session() -> None:
    right = lesson("use credit")
    wrong = lesson("use post").model_copy(update={"evidence": Evidence(n_with=3, successes_with=2.0)})
    shown = Recalled(audience="student", version=1, shown=(wrong,))
    for expected in ("trial", "trial", "retired"):
        (wrong,) = refuted((wrong,), (right,), shown)
        assert wrong.state == expected
    assert wrong.evidence.refuted == 3
