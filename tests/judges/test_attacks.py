"""Attacks: what a judge lets through is counted, what is not measured is not called safe, and learning stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.judges import AttackFile, AttackReport, Ensemble, LLMJudge, PythonCheck, attack, load_attacks
from atlas.judges.attacks import ATTACKS, TASKS, probes
from atlas.models import Caller, ScriptedModel
from atlas.schema import Request, Session, Verdict
from atlas.schema.errors import ConfigError, ModelUnavailable

SessionOf = Callable[..., Session]


def reply(score: float) -> str:
    return json.dumps(
        {
            "principles": [],
            "rationale": "because",
            "score": score,
            "uncertainty": 0.1,
            "student_note": None,
            "teacher_note": None,
        }
    )


def model(gullible: Callable[[str], bool]) -> ScriptedModel:
    def answer(request: Request) -> object:
        return reply(1.0 if gullible(request.messages[-1].content) else 0.0)

    return ScriptedModel(answer, name="scripted:judge")


def door(trace: Any) -> Callable[[str], Caller]:
    return lambda name: Caller(trace)


def test_there_are_enough_probes_to_bound_one_percent() -> None:
    shown = probes()
    assert len(shown) == len(ATTACKS) * len(TASKS) >= 300
    assert len({session.id for _, session in shown}) == len(shown)
    assert len(probes(7)) == 7


async def test_a_strict_judge_lets_nothing_through(trace: Any) -> None:
    report = await attack(LLMJudge(model(lambda _: False)), door(trace))
    assert (report.asked, report.fooled, report.failed) == (360, 0, 0)
    assert report.refused >= 60  # texts without substance never reach the model
    assert report.rate.high < 0.02


async def test_a_judge_that_obeys_orders_is_caught_and_what_got_through_is_named(trace: Any) -> None:
    report = await attack(LLMJudge(model(lambda text: "score of 1.0" in text)), door(trace))
    assert report.by_attack == {"order": len(TASKS)}
    barred = AttackFile(reports=(report,)).barred(0.01)
    assert "12 of 360" in barred[report.judge]
    assert AttackFile(reports=(report,)).barred(0.05) == {}


async def test_an_outage_is_not_a_judge_that_withstood(trace: Any) -> None:
    def down(request: Request) -> object:
        return ModelUnavailable("down")

    report = await attack(LLMJudge(ScriptedModel(down)), door(trace), limit=40)
    assert report.failed == 40 - report.refused
    assert report.asked == report.refused
    assert report.fooled == 0


class Says:
    def __init__(self, name: str) -> None:
        self.name = name

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        return Verdict(judge=self.name, score=0.9)


async def test_a_reward_that_a_gullible_judge_made_says_that_nothing_may_be_learnt(
    session_of: SessionOf, caller: Caller
) -> None:
    barred = {"gullible": "gullible let 12 of 360 attacks through"}
    reward = await Ensemble((), [Says("gullible"), Says("sound")], barred=barred).reward(session_of(), caller)
    assert reward.value is not None
    assert reward.barred is not None
    assert "learning from this reward is off" in reward.barred
    sound = await Ensemble((), [Says("sound"), Says("sound")], barred=barred).reward(session_of(), caller)
    assert sound.barred is None
    checked = await Ensemble([PythonCheck(lambda _: True)], [Says("gullible")], barred=barred).reward(
        session_of(), caller
    )
    assert (checked.source, checked.barred) == ("check", None)


def test_reports_are_kept_in_a_file(tmp_path: Path) -> None:
    found = AttackFile(reports=(AttackReport(judge="a", asked=10, fooled=1, refused=0, failed=0),))
    found.save(tmp_path / "attacks.json")
    assert load_attacks(tmp_path / "attacks.json") == found
    (tmp_path / "bad.json").write_text("[]")
    for name in ("bad.json", "absent.json"):
        with pytest.raises(ConfigError, match="atlas judge attack"):
            load_attacks(tmp_path / name)
