"""The report and the guarantee on hand-made records whose answer is known."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from atlas.evaluate import guarantees, learning_report, markdown, svg
from atlas.schema import Cue, Entry, Provenance, Recalled
from atlas.schema.events import Compared
from atlas.store import LedgerRow

START = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = Recalled(audience="teacher", version=0)


def lesson(name: str, *sessions: str) -> Entry:
    return Entry(id=name, audience="student", cue=Cue(text="a"), action="do", provenance=Provenance(sessions=sessions))


def seen(*shown: Entry, held: tuple[str, ...] = (), odds: float = 0.8) -> Recalled:
    every = [*(entry.id for entry in shown), *held]
    lots = tuple((name, odds) for name in every)
    return Recalled(audience="student", version=1, shown=shown, held_out=held, propensities=lots)


def row(number: int, **fields: Any) -> LedgerRow:
    defaults: dict[str, Any] = {
        "id": f"s{number:05}",
        "learning_key": "sums",
        "at": START + timedelta(minutes=number),
        "lane": "auto",
        "policy": "student=a",
        "reward": 1.0,
        "first_try": True,
        "tokens": 100,
        "cost_usd": 0.01,
        "student": seen(),
        "teacher": NOBODY,
    }
    return LedgerRow.model_validate(defaults | fields)


def test_recent_sessions_are_held_against_others_not_against_themselves() -> None:
    rows = [row(n, reward=0.0, tokens=200) for n in range(60)] + [row(n) for n in range(60, 100)]
    (group,) = learning_report(rows, [], tenant="t", recent=40).groups
    assert (group.recent.sessions, group.baseline.sessions) == (40, 60)
    assert (group.recent.success.mean, group.baseline.success.mean) == (1.0, 0.0)
    assert group.success_gain.low > 0.85
    assert group.tokens_ratio == 0.5
    assert group.curve[-1].until == 100
    assert sum(point.success.n for point in group.curve) == 100


def test_a_key_is_split_by_lane_and_models_where_it_has_several() -> None:
    rows = [row(n, lane="auto" if n % 2 else "paired", policy=f"student={n % 3}") for n in range(30)]
    found = learning_report(rows, [], tenant="t", recent=5).groups
    assert (found[0].lane, found[0].policy) == ("all", "all")
    assert len(found) == 7
    assert sum(group.recent.sessions + group.baseline.sessions for group in found[1:]) == 30


def test_sessions_without_a_reward_or_price_are_not_counted_as_zero() -> None:
    rows = [row(0, reward=None, cost_usd=None), row(1), row(2, replay_of="s00000")]
    report = learning_report(rows, [], tenant="t", recent=9)
    (group,) = report.groups
    assert report.sessions == 2, "a replay serves nobody"
    assert (group.recent.success.n, group.recent.cost_usd) == (1, None)


def test_transfer_between_keys_and_models() -> None:
    a, b = lesson("a", "s00000"), lesson("b", "s00001")
    rows = [row(0, learning_key="one", policy="m1"), row(1, learning_key="two", policy="m2")]
    rows += [row(n, learning_key="two", policy="m1", student=seen(a), first_try=True) for n in range(2, 12)]
    held = seen(held=("a",))
    rows += [row(n, learning_key="two", policy="m1", student=held, first_try=False) for n in range(12, 22)]
    rows.append(row(22, learning_key="one", policy="m2", student=seen(b)))
    report = learning_report(rows, [a, b, lesson("c", "unknown")], tenant="t", recent=5, key="one")
    cells = {(one.learnt_at, one.used_at): one for one in report.between_keys}
    assert set(cells) == {("one", "two"), ("two", "one")}
    across = cells["one", "two"]
    assert (across.shown, across.withheld, across.lift.mean) == (10, 10, 1.0)
    assert {(one.learnt_at, one.used_at) for one in report.between_models} == {("m1", "m1"), ("m2", "m2")}
    assert {group.learning_key for group in report.groups} == {"one"}


def test_the_report_as_text_and_picture_whatever_the_names_are() -> None:
    nasty = "a|b\n<script>\x1b[2J&"
    rows = [row(n, learning_key=nasty, policy=nasty, student=seen(lesson("a", "s00000"))) for n in range(12)]
    report = learning_report(rows, [lesson("a", "s00000")], tenant=nasty, recent=5)
    text = "\n".join(markdown(report))
    assert "<script>" not in text
    assert "\x1b" not in text
    table = [line for line in text.splitlines() if line.startswith("|") and "a\\|b" in line]
    assert table
    assert all(line.replace("\\|", "").count("|") in (3, 5, 12) for line in table)
    assert ElementTree.fromstring(svg(report.groups[0])).tag.endswith("svg")
    assert list(markdown(learning_report([], [], tenant="t", recent=5)))


def served(gain: float, sessions: int, seed: int) -> list[LedgerRow]:
    """Sessions with one lesson, withheld from half of them."""
    rng, rows = np.random.default_rng(seed), []
    entry = lesson("a")
    for number in range(sessions):
        shown = rng.random() < 0.5
        reward = float(rng.random() < (0.6 + gain if shown else 0.6))
        memory = seen(entry, odds=0.5) if shown else seen(held=("a",), odds=0.5)
        rows.append(row(number, reward=reward, student=memory))
    return rows


def test_the_guarantee_from_the_callers_sessions() -> None:
    good = guarantees(served(0.3, 3000, 1), "sums", delta=0.05)
    assert good.holds
    assert good.online.estimate == pytest.approx(0.3, abs=0.1)
    wrong = sum(guarantees(served(-0.05, 800, seed), "sums", delta=0.05).holds for seed in range(40))
    assert wrong <= 2


def test_sessions_without_a_matching_lesson_are_known_to_be_equal() -> None:
    told = guarantees([row(n, reward=float(n % 2)) for n in range(5000)], "sums", delta=0.05)
    assert (told.online.estimate, told.online.holds) == (pytest.approx(0.0), True)


def test_a_session_that_could_say_next_to_nothing_is_taken_for_the_worst() -> None:
    rows = [row(n, student=seen(lesson("a"), lesson("b"), odds=0.95)) for n in range(50)]
    assert guarantees(rows, "sums", delta=0.05).online.estimate == pytest.approx(-1.0)
    assert guarantees([row(1, reward=None)], "sums", delta=0.05).unrewarded == 1


def test_only_stored_tasks_against_no_lessons_speak() -> None:
    pairs = [Compared(audience="student", against=against, outcome=0.0) for against in (0, 3)]
    rows = [row(n, replay_of="x", compared=pair) for n, pair in enumerate(pairs)]
    rows.append(row(9, compared=Compared(audience="student", entry_id="a", outcome=0.0)))
    told = guarantees(rows, "sums", delta=0.05)
    assert (told.replayed.sessions, told.replayed.estimate, told.online.sessions) == (1, 1.0, 1)
