"""The auto lane with a second look: a doubtful answer is verified after all, a forced lane is kept."""

from __future__ import annotations

import json

import pytest

from atlas.agents import ModelAgent
from atlas.lanes import AutoLane
from atlas.lanes.base import Played
from atlas.models import Caller, ScriptedModel
from atlas.roles import Scene, Student, StudentLimits, StudentPrompts, Teacher, TeacherLimits, TeacherPrompts
from atlas.schema import Attempt, Body, Event, Recalled, Route, Task, now
from atlas.schema.errors import ModelUnavailable


class Kept:
    session_id = "01900000-0000-7000-8000-000000000000"

    def __init__(self) -> None:
        self.bodies: list[Body] = []

    async def record(self, body: Body) -> Event:
        self.bodies.append(body)
        return Event(session_id=self.session_id, seq=len(self.bodies), at=now(), body=body)


def look(task: Task, attempt: Attempt) -> Route | None:
    return Route(lane="paired", reason="too long") if len(attempt.output) > 20 else None


async def played(replies: list[str], reviews: list[object], *, bound: bool = False) -> tuple[Played, list[str]]:
    trace = Kept()
    lane = AutoLane(
        Student(ModelAgent(ScriptedModel(replies)), StudentPrompts.default(), StudentLimits()),
        Teacher(ScriptedModel(reviews), TeacherPrompts.default(), TeacherLimits()),
        look=look,
    )
    nothing = (Recalled(audience="student", version=0), Recalled(audience="teacher", version=0))
    scene = Scene(Task(prompt="Add up."), *nothing, Caller(trace), bound=bound)
    return await lane.play(scene), [body.type for body in trace.bodies if body.type != "model_called"]


GUIDE = json.dumps({"accepted": False, "guidance": "Shorter."})
ACCEPT = json.dumps({"accepted": True, "guidance": None})


async def test_an_answer_that_looks_right_costs_no_teacher() -> None:
    result, kinds = await played(["42"], [])
    assert (result.answer, result.accepted, kinds) == ("42", None, ["attempted"])


async def test_an_answer_that_looks_wrong_is_verified_and_tried_again() -> None:
    result, kinds = await played(["a very long and doubtful answer", "42"], [GUIDE, ACCEPT])
    assert (result.answer, result.accepted) == ("42", True)
    assert kinds == ["routed", "attempted", "reviewed", "attempted", "reviewed"]


async def test_a_forced_lane_is_kept() -> None:
    result, kinds = await played(["a very long and doubtful answer"], [], bound=True)
    assert (result.accepted, kinds) == (None, ["attempted"])


@pytest.mark.parametrize("reviews", [[ModelUnavailable("down")], ["no json", "no json"]])
async def test_a_teacher_that_is_down_leaves_the_answer(reviews: list[object]) -> None:
    result, kinds = await played(["a very long and doubtful answer"], reviews)
    assert (result.answer, result.accepted) == ("a very long and doubtful answer", None)
    assert "degraded" in kinds
