"""Routing: each source of a decision, and that the decision tells its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.models import Caller, ScriptedModel
from atlas.schema import Dossier, Lane, Outcome, Route, Task, now
from atlas.schema.errors import ModelUnavailable
from atlas.schema.events import Degraded
from atlas.triage import HistoryRule, Known, Probe, Router, RoutingRules, Thresholds, route_by_history

TASK = Task(prompt="Refund order 17.", learning_key="billing")


class ListTrace:
    def __init__(self, session_id: str = "01900000-0000-7000-8000-000000000000") -> None:
        self.session_id = session_id
        self.bodies: list[object] = []

    async def record(self, body):
        self.bodies.append(body)


def past(*first_tries: bool | None, lane: Lane = "paired", reward: float | None = 1.0) -> tuple[Outcome, ...]:
    return tuple(Outcome(lane=lane, reward=reward, first_try=alone, at=now()) for alone in first_tries)


def known(*outcomes: Outcome, arms: tuple[str, ...] = ()) -> Known:
    return Known(outcomes=outcomes, arms=arms)


async def routed(rules: RoutingRules, background: Known, **options: object) -> tuple[Route, ListTrace]:
    trace = ListTrace()
    router = Router(rules, probe=options.get("probe"), has_teacher=options.get("has_teacher", True))
    route = await router.route(TASK, Dossier(), background, Caller(trace), forced=options.get("forced"))
    return route, trace


async def test_a_forced_lane_wins_over_everything() -> None:
    route, _ = await routed(RoutingRules(forced="coach"), known(*past(*[True] * 40)), forced="auto")
    assert (route.lane, route.source) == ("auto", "forced")


async def test_without_a_teacher_there_is_only_the_auto_lane_and_it_says_why() -> None:
    route, _ = await routed(RoutingRules(), known(), has_teacher=False, forced="paired")
    assert route.lane == "auto"
    assert "no teacher" in route.reason
    assert "paired was asked for" in route.reason


async def test_the_first_session_of_a_key_is_certified() -> None:
    route, _ = await routed(RoutingRules(), known())
    assert (route.lane, route.source) == ("paired", "certification")


async def test_certification_can_be_off() -> None:
    route, _ = await routed(RoutingRules(certify_first_run=False, fallback="coach"), known())
    assert (route.lane, route.source) == ("coach", "fallback")


async def test_a_long_clean_history_earns_the_auto_lane() -> None:
    route, _ = await routed(RoutingRules(audit_share=0.0), known(*past(*[True] * 20)))
    assert (route.lane, route.source) == ("auto", "history")
    assert "20 of the last 20" in route.reason


async def test_a_few_lucky_sessions_do_not() -> None:
    route, _ = await routed(RoutingRules(audit_share=0.0), known(*past(*[True] * 3)))
    assert route.lane == "paired"


async def test_coach_is_taken_where_paired_is_known_to_fall_short() -> None:
    route, _ = await routed(RoutingRules(), known(*past(*[False] * 10, reward=0.0)))
    assert (route.lane, route.source) == ("coach", "history")


async def test_only_sessions_with_the_same_lessons_speak() -> None:
    with_lesson = tuple(one.model_copy(update={"arms": ("lesson",)}) for one in past(*[True] * 6))
    without = tuple(one.model_copy(update={"arms": ("-lesson",)}) for one in past(*[False] * 6))
    rules = RoutingRules(audit_share=0.0)
    taught, _ = await routed(rules, known(*without, *with_lesson, arms=("lesson",)))
    withheld, _ = await routed(rules, known(*without, *with_lesson, arms=("-lesson",)))
    assert taught.lane == "auto"
    assert "with the same lessons" in taught.reason
    assert withheld.lane != "auto"


async def test_unknown_outcomes_are_no_evidence() -> None:
    assert route_by_history(known(*past(*[None] * 30)), HistoryRule(), Thresholds()) is None


async def test_auto_sessions_are_spot_checked_at_the_share_that_is_set() -> None:
    router = Router(RoutingRules(audit_share=0.2), probe=None, has_teacher=True)
    lanes = [
        (await router.route(TASK, Dossier(), known(*past(*[True] * 30)), Caller(ListTrace(f"session {n}")))).lane
        for n in range(400)
    ]
    assert 0.12 < lanes.count("paired") / 400 < 0.28


@pytest.mark.parametrize(("said", "lane"), [(0.9, "auto"), (0.7, "paired"), (0.4, "coach"), (0.0, "coach")])
async def test_the_probe_decides_when_history_is_too_short(said: float, lane: str) -> None:
    probe = Probe(ScriptedModel([f'{{"mode": "auto", "confidence": {said}}}']), evidence_limit=6, timeout_s=5)
    route, _ = await routed(RoutingRules(), known(*past(True)), probe=probe)
    assert (route.lane, route.source, route.confidence) == (lane, "probe", said)


@pytest.mark.parametrize("reply", [ModelUnavailable("down"), "no idea", '{"mode": "auto", "confidence": 7}'])
async def test_a_probe_without_a_word_falls_back_and_says_so(reply: object) -> None:
    probe = Probe(ScriptedModel([reply, reply]), evidence_limit=6, timeout_s=5)
    route, trace = await routed(RoutingRules(), known(*past(True)), probe=probe)
    assert (route.lane, route.source) == ("paired", "fallback")
    assert any(isinstance(body, Degraded) for body in trace.bodies)


@given(st.lists(st.booleans(), min_size=5, max_size=60))
def test_one_more_success_never_moves_a_key_to_more_supervision(first_tries: list[bool]) -> None:
    order = {"auto": 0, "paired": 1, "coach": 2}
    rule, thresholds = HistoryRule(), Thresholds()
    before = route_by_history(known(*past(*first_tries)), rule, thresholds)
    after = route_by_history(known(*past(True, *first_tries)), rule, thresholds)
    assert before is not None
    assert after is not None
    assert order[after.lane] <= order[before.lane]
