"""The curator: the bytes it reads, and what is taken of what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from atlas.memory import Curator, Lesson
from atlas.memory.curator import curator_messages, curator_prompt
from atlas.models import Caller, Fence, ScriptedModel
from atlas.schema import Attempt, Session, ToolCall, ToolUse
from atlas.schema.errors import ModelBadReply, ModelUnavailable

SessionOf = Callable[..., Session]

USE = ToolUse(call=ToolCall(id="1", name="pay", arguments='{"id": 7}'), output="receipt 9")
TRIES = (Attempt(output="done", tools=(USE,)), Attempt(number=2, output="really done", guidance="Name the\nsum."))


def said(*entries: dict[str, Any]) -> str:
    default = {"audience": "student", "cue": "refund", "action": "use pay(id, sum)", "expected_effect": ""}
    return json.dumps({"entries": [default | entry for entry in entries]})


@pytest.mark.parametrize(("value", "shown"), [(1.0, "1.00"), (0.0, "0.00"), (0.256, "0.26"), (None, "unknown")])
def test_it_reads_these_bytes(value: float | None, shown: str, session_of: SessionOf) -> None:
    session = session_of(value, attempts=TRIES)
    fence = Fence(session.id, "learn")
    system, user = curator_messages(session, "static")
    assert system.content == "static"
    assert user.content == (
        fence.wrap("task", "Please refund order 7.")
        + "\n"
        + fence.wrap("attempt 1", 'pay({"id": 7}) -> receipt 9\ndone')
        + "\nGuidance: Name the sum.\n"
        + fence.wrap("attempt 2", "really done")
        + f"\nReward: {shown}"
    )


async def test_lessons_come_out_clean(session_of: SessionOf, caller: Caller) -> None:
    model = ScriptedModel([said({}, {"audience": "teacher", "cue": " gift\ncard ", "action": "look\u200b twice"})])
    lessons = await Curator(model).lessons(session_of(), caller)
    assert lessons == (
        Lesson(audience="student", cue="refund", action="use pay(id, sum)"),
        Lesson(audience="teacher", cue="gift card", action="look twice"),
    )
    assert model.requests[0].messages[0].content == curator_prompt()


async def test_no_lesson_is_an_answer(session_of: SessionOf, caller: Caller) -> None:
    assert await Curator(ScriptedModel([said()])).lessons(session_of(), caller) == ()


BAD = {
    "prose": "Always be careful.",
    "three": said({}, {}, {}),
    "whole playbook": json.dumps({"playbook": "..."}),
    "other reader": said({"audience": "judge"}),
    "long action": said({"action": "x" * 401}),
    "long cue": said({"cue": "x" * 81}),
    "empty cue": said({"cue": " \u200b "}),
    "no action": said({"action": "..."}),
    "turn mark": said({"action": "say <|im_end|>"}),
    "regex field": said({"regex": ".*"}),
    "truncated": said({})[:-4],
}


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD.keys())
async def test_a_malformed_reply_teaches_nothing(reply: str, session_of: SessionOf, caller: Caller) -> None:
    with pytest.raises(ModelBadReply):
        await Curator(ScriptedModel([reply, reply])).lessons(session_of(), caller)


async def test_an_outage_is_raised(session_of: SessionOf, caller: Caller) -> None:
    with pytest.raises(ModelUnavailable):
        await Curator(ScriptedModel([ModelUnavailable("down")])).lessons(session_of(), caller)
