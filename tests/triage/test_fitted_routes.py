"""Fitted routes: they find where supervision changes the outcome, say how sure they are, and serve at run time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.evidence.reliability import auroc, calibration_error
from atlas.models import Caller
from atlas.schema import Attempt, Dossier, Outcome, Reward, Route, Session, Task, now
from atlas.schema.errors import ConfigError
from atlas.triage import Known, Look, Router, Routes, RoutingRules, Signals, Tried, fit_arms, fit_routes, load_routes
from atlas.triage.fitting import MIN_OUTCOMES
from atlas.triage.foreseeing import past_of, second_look, tried_of, words_hash

NOUNS = ("invoice", "refund", "parcel", "password", "contract", "address")


def world(n: int, seed: int = 0, *, past: bool = True, look: bool = False) -> list[Tried]:
    """Tasks of two keys; long lists are hard for the student, the teacher rescues them, except where nobody can."""
    draw = random.Random(seed)
    rows: list[Tried] = []
    for number in range(n):
        key, many, cursed = draw.choice(["easy", "mixed"]), draw.random() < 0.4, draw.random() < 0.15
        words = " and ".join(draw.choices(NOUNS, k=9 if many else 2))
        chance = 0.1 if cursed else 0.45 if many and key == "mixed" else 0.7 if many else 0.95
        helped = 0.15 if cursed else 0.92
        signals = Signals(
            key=key,
            prompt=f"Find the {words}",
            past={"other": float(draw.random() < (0.05 if cursed else 0.9))} if past else {},
            look=Look(size=900 if draw.random() > chance else 90) if look else None,
        )
        alone = float((signals.look.size < 500) if signals.look else draw.random() < chance)
        rows.append(Tried(task=str(number), signals=signals, alone=alone, helped=float(draw.random() < helped)))
    return rows


def success(rows: list[Tried], gains: list[float], share: float) -> float:
    taken = sorted(range(len(rows)), key=lambda at: -gains[at])[: int(share * len(rows))]
    return fmean((one.helped if at in taken else one.alone) or 0.0 for at, one in enumerate(rows))


def test_it_beats_a_router_that_knows_only_the_keys() -> None:
    train, test = world(600), world(2000, seed=1)
    arms = fit_arms(train)
    ours = [arms.worth(one.signals).gain for one in test]
    by_key = {key: fmean(o.helped - o.alone for o in train if o.signals.key == key) for key in ("easy", "mixed")}
    category = [by_key[one.signals.key] for one in test]
    assert success(test, ours, 0.2) > success(test, category, 0.2) + 0.03


def test_its_chances_rank_and_come_true_on_other_tasks() -> None:
    arms, test = fit_arms(world(600)), world(2000, seed=1)
    stated = [arms.worth(one.signals).alone for one in test]
    outcomes = [one.alone or 0.0 for one in test]
    assert auroc(stated, outcomes) > 0.75
    assert calibration_error(stated, outcomes) < 0.08
    assert arms.alone.calibration_error < 0.08


def test_where_nobody_succeeds_supervision_is_not_worth_it() -> None:
    arms = fit_arms(world(600))
    prompt = "Find the " + " and ".join(NOUNS)
    hopeless = arms.worth(Signals(key="mixed", prompt=prompt, past={"other": 0.0}))
    hopeful = arms.worth(Signals(key="mixed", prompt=prompt, past={"other": 1.0}))
    assert hopeless.alone < hopeful.alone + 0.05
    assert hopeful.gain > hopeless.gain


def test_words_that_foretell_nothing_hardly_move_a_chance() -> None:
    draw = random.Random(0)
    rows = [
        Tried(
            task=str(n),
            signals=Signals(key=draw.choice("ab"), prompt=" ".join(draw.choices(NOUNS, k=5))),
            alone=float(draw.random() < 0.6),
            helped=float(draw.random() < 0.7),
        )
        for n in range(300)
    ]
    chances = [fit.worth(one.signals).alone for fit in [fit_arms(rows)] for one in rows]
    assert max(abs(one - 0.6) for one in chances) < 0.2


def test_the_share_that_is_asked_for_is_supervised() -> None:
    rows = world(600)
    for share in (0.1, 0.3):
        arms = fit_arms(rows, share=share)
        assert arms.share == pytest.approx(share, abs=0.03)
        taken = [arms.worth(one.signals).gain > arms.least_gain for one in world(1000, seed=2)]
        assert fmean(taken) == pytest.approx(share, abs=0.12)


def test_sessions_of_one_lane_only_are_not_enough() -> None:
    rows = [one.model_copy(update={"helped": None}) for one in world(100)]
    with pytest.raises(ConfigError, match="0 known outcomes with supervision"):
        fit_arms(rows)
    with pytest.raises(ConfigError, match="too few"):
        fit_arms(world(MIN_OUTCOMES - 1))
    with pytest.raises(ConfigError, match="too few"):
        fit_arms([])


def test_where_nothing_foretells_success_the_mean_is_stated() -> None:
    for seed in range(8):
        draw = random.Random(seed)
        rows = [
            Tried(
                task=str(n), signals=Signals(key=draw.choice("abc")), alone=float(n % 10 < 6), helped=float(n % 10 < 8)
            )
            for n in range(100)
        ]
        worth = fit_arms(rows).worth(Signals(key="a"))
        assert worth.alone == pytest.approx(0.6, abs=0.12)
        assert worth.helped == pytest.approx(0.8, abs=0.12)


def test_a_teacher_that_always_rescues_can_be_learnt_from() -> None:
    rows = [one.model_copy(update={"helped": 1.0}) for one in world(200)]
    arms = fit_arms(rows)
    assert min(arms.worth(one.signals).helped for one in rows) > 0.9
    assert arms.share > 0.1
    with pytest.raises(ConfigError, match="the same"):
        fit_arms([one.model_copy(update={"alone": 1.0, "helped": 1.0}) for one in rows])


def test_a_look_at_the_answer_is_used_where_it_tells_more(tmp_path: Path) -> None:
    routes = fit_routes(world(400, look=True))
    assert routes.after is not None
    assert "look" in routes.after.alone.groups
    assert "look" not in routes.before.alone.groups
    look = second_look(routes.after)
    task = Task(prompt="Find the invoice and parcel", learning_key="mixed")
    assert look(task, Attempt(output="x" * 90)) is None
    route = look(task, Attempt(output="x" * 900))
    assert route is not None
    assert route.lane == "paired"
    assert "after a look" in route.reason
    assert look(task.model_copy(update={"learning_key": "strange"}), Attempt(output="x" * 900)) is None
    assert fit_routes(world(400)).after is None
    routes.save(tmp_path / "routes.json")
    assert load_routes(tmp_path / "routes.json") == routes


def test_a_file_that_holds_no_routes_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"before": 1}')
    for name in ("bad.json", "absent.json"):
        with pytest.raises(ConfigError, match="atlas route fit"):
            load_routes(tmp_path / name)


ROUTES = Routes(before=fit_arms(world(400)))


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(max_size=5), st.dictionaries(st.sampled_from(["other", "new"]), st.floats(0, 1)))
def test_any_task_has_chances(prompt: str, key: str, past: dict[str, float]) -> None:
    worth = ROUTES.before.worth(Signals(key=key, prompt=prompt, past=past, look=Look(size=1e12, seconds=0.0)))
    assert 0 <= worth.alone <= 1
    assert 0 <= worth.helped <= 1


class Trace:
    def __init__(self, session_id: str) -> None:
        self.session_id = session_id


async def routed(task: Task, outcomes: tuple[Outcome, ...], **rules: object) -> Route:
    router = Router(
        RoutingRules(audit_share=0.0, certify_first_run=False, **rules),
        probe=None,
        has_teacher=True,
        arms=ROUTES.before,
    )
    return await router.route(task, Dossier(), Known(outcomes=outcomes), Caller(Trace("s")))


async def test_the_router_supervises_where_it_is_worth_it_and_says_why() -> None:
    hard = Task(prompt="Find the " + " and ".join(NOUNS * 2), learning_key="mixed")
    easy = Task(prompt="Find the invoice", learning_key="easy")
    taken, left = await routed(hard, ()), await routed(easy, ())
    assert (taken.lane, left.lane) == ("paired", "auto")
    assert taken.source == left.source == "history"
    assert "gain of +" in taken.reason
    assert taken.confidence is not None
    assert left.confidence is not None
    assert taken.confidence < left.confidence


async def test_a_key_it_never_saw_is_left_to_plain_history() -> None:
    route = await routed(Task(prompt="Find the invoice", learning_key="strange"), ())
    assert route.source == "fallback"


def outcome(prompt: str, first_try: bool | None, policy: str) -> Outcome:
    return Outcome(
        lane="paired", reward=1.0, first_try=first_try, at=now(), task=words_hash(prompt), policy=f"student={policy}"
    )


def test_only_the_same_words_are_the_tasks_past_and_the_latest_counts() -> None:
    task = Task(prompt="Find it")
    outcomes = [
        outcome("Find it", True, "new;teacher=t"),
        outcome("Find it", False, "new;teacher=t"),
        outcome("Find it", None, "blind"),
        outcome("Find that", False, "old"),
        outcome("Find it", False, "old"),
    ]
    assert past_of(task, outcomes) == {"new": 1.0, "old": 0.0}


def test_sessions_teach_both_ways_and_never_their_own_future(session_with: Callable[..., Session]) -> None:
    first = session_with("Find it", lane="paired", value=1.0, rescued=True)
    second = session_with("Find it", lane="auto", value=1.0)
    rows = tried_of([first, second])
    assert [(row.alone, row.helped) for row in rows] == [(0.0, 1.0), (1.0, None)]
    assert rows[0].signals.past == {}
    assert rows[1].signals.past == {"scripted": 0.0}
    assert rows[0].task == rows[1].task
    assert rows[0].signals.look == Look(size=5.0)


@pytest.fixture
def session_with() -> Callable[..., Session]:
    from atlas.schema import Review

    def make(prompt: str, *, lane: str, value: float, rescued: bool = False) -> Session:
        return Session(
            id=f"s-{lane}",
            task=Task(prompt=prompt),
            status="succeeded",
            policy="student=scripted;teacher=t",
            route=Route.model_validate({"lane": lane}),
            attempts=(Attempt(output="wrong"), Attempt(output="right", number=2))[: 1 + rescued],
            reviews=(Review(target="answer", accepted=False, guidance="again"),) if rescued else (),
            answer="right",
            reward=Reward(value=value, source="check"),
            created_at=now(),
        )

    return make
