"""An environment with reset and step as the student's world."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from agents_kit import MemoryTrace, turn

from atlas.agents import ModelAgent, PythonAgent, World, WorldAgent, episode_reward
from atlas.models import Caller, Journal, ScriptedModel
from atlas.schema import Attempt, Session, Task, now
from atlas.schema.errors import AgentError, JudgeError, ModelUnavailable


class Door:
    """A door that opens after two right words."""

    made: ClassVar[list[Door]] = []

    def __init__(self, words: tuple[str, ...] = ("open", "sesame")) -> None:
        self.words = list(words)
        self.closed = False
        Door.made.append(self)

    def reset(self, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
        self.task = task
        return {"door": "shut"}, {"info": 1}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        right = bool(self.words) and action == self.words[0]
        if right:
            self.words.pop(0)
        return ("a click" if right else "nothing"), 0.5 * right, not self.words, False, {}

    def close(self) -> None:
        self.closed = True


def session_of(attempt: Attempt) -> Session:
    return Session(id="0190", task=Task(prompt="x"), attempts=(attempt,), created_at=now())


async def test_a_model_acts_until_the_world_is_done(caller: Caller, trace: MemoryTrace) -> None:
    model = ScriptedModel(["open", "knock", " sesame\n"])
    agent = WorldAgent(ModelAgent(model), World(Door, {}, max_steps=9))
    output = await agent.act(turn(prompt="Get in."), caller)
    assert output.text == "sesame"
    assert [use.call.arguments for use in output.tools] == [
        '{"action": "open"}',
        '{"action": "knock"}',
        '{"action": "sesame"}',
    ]
    assert '{"door":"shut"}' in model.requests[0].messages[-1].content
    assert "a click" in model.requests[1].messages[-1].content
    first, second = model.requests[0].messages, model.requests[1].messages
    assert second[: len(first)] == first  # bytes in front never change
    assert trace.types == ["model_called", "tool_called"] * 3
    assert (Door.made[-1].task, Door.made[-1].closed) == ("Get in.", True)
    assert episode_reward(session_of(Attempt(output=output.text, tools=output.tools))) == 1.0
    assert (agent.plans, agent.abilities.level) == (False, "result + traces + injection + steps")


async def test_it_ends_after_the_last_allowed_action(caller: Caller) -> None:
    agent = WorldAgent(PythonAgent(lambda prompt: "knock"), World(Door, {}, max_steps=3))
    output = await agent.act(turn(), caller)
    assert len(output.tools) == 3
    assert episode_reward(session_of(Attempt(output=output.text, tools=output.tools))) == 0.0


async def test_a_resumed_episode_pays_no_model_call_twice_and_rebuilds_its_world(trace: MemoryTrace) -> None:
    world = World(Door, {}, max_steps=9)
    broken = ScriptedModel(["open", ModelUnavailable("down")])
    with pytest.raises(ModelUnavailable):
        await WorldAgent(ModelAgent(broken), world).act(turn(), Caller(trace))
    model = ScriptedModel(["sesame"])
    resumed = MemoryTrace()
    output = await WorldAgent(ModelAgent(model), world).act(turn(), Caller(resumed, journal=Journal(trace.events)))
    assert output.text == "sesame"
    assert len(model.requests) == 1
    assert resumed.types == ["model_called", "tool_called"]


class Plain:
    """The old protocol, in async methods."""

    async def reset(self) -> str:
        return "start"

    async def step(self, action: str) -> dict[str, Any]:
        return {"observation": action, "reward": 2, "done": True}


async def test_other_shapes_of_worlds(caller: Caller) -> None:
    output = await WorldAgent(PythonAgent(lambda p: "go"), World(Plain, {}, 5)).act(turn(), caller)
    with pytest.raises(JudgeError, match="earned 2"):
        episode_reward(session_of(Attempt(output="go", tools=output.tools)))
    with pytest.raises(JudgeError, match="no episode"):
        episode_reward(session_of(Attempt(output="go")))


class Raises(Plain):
    async def step(self, action: str) -> dict[str, Any]:
        raise ValueError("out\nof range")


class Mute(Plain):
    async def step(self, action: str) -> Any:
        return None


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (Raises, "raised in step: ValueError: out of range"),
        (Mute, "step gave neither"),
        (lambda: 3, "has no reset and step"),
        (lambda: 1 / 0, "cannot be made: ZeroDivisionError"),
    ],
)
async def test_a_broken_world_is_named(make: Any, match: str, caller: Caller) -> None:
    with pytest.raises(AgentError, match=match):
        await WorldAgent(PythonAgent(lambda p: "go"), World(make, {}, 5)).act(turn(), caller)
