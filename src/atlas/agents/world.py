"""An environment with `reset` and `step` as the student's world: it acts until the world says that it is over."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json

from atlas.agents.answers import output_of, recorded
from atlas.agents.base import Abilities, Agent, Output, Turn
from atlas.agents.threads import in_thread
from atlas.models import Caller, OnText
from atlas.models.text import one_line, scrub
from atlas.schema import Attempt, Message, Noun, Session, ToolCall, ToolSpec, ToolUse
from atlas.schema.errors import AgentError, JudgeError, ToolError

STEP = "environment_step"
"""The tool's name under which an action is recorded."""

_TASK_NAMES = ("task", "prompt")
_SPEC = ToolSpec(name=STEP, description="One action in the environment.", effect="external")
_ASK = "You act in an environment, one action a turn. Observation:\n{seen}\n\nReply with your next action only."
_NEXT = "Observation:\n{seen}\n\nReply with your next action only."


class Moment(Noun):
    """What the world showed after an action."""

    observation: str
    """As text; JSON where it is no text."""
    reward: float = 0.0
    """What this action earned."""
    done: bool = False
    """Whether the episode is over."""


@dataclass(frozen=True, slots=True)
class World:
    """How a new environment is made for each try."""

    make: Callable[..., Any]
    """A class or a function."""
    arguments: dict[str, Any]
    """What it is called with."""
    max_steps: int
    """Actions of one try."""

    @property
    def name(self) -> str:
        """Of the class or function."""
        return getattr(self.make, "__name__", type(self.make).__name__)


class WorldAgent:
    """The user's agent, acting in the user's environment. Its answer is its last action, its actions are tool calls."""

    def __init__(self, agent: Agent, world: World) -> None:
        """Nothing is made yet."""
        self._agent = agent
        self._world = world

    @property
    def name(self) -> str:
        """The agent's name and the environment's."""
        return f"{self._agent.name} in {self._world.name}"

    @property
    def plans(self) -> bool:
        """A plan of steps would have to be made before anything is seen; the world is explored instead."""
        return False

    @property
    def abilities(self) -> Abilities:
        """The agent's own, and its actions are always seen."""
        return self._agent.abilities.model_copy(update={"traces": True})

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """One episode, from `reset` to the end or to `max_steps` actions.

        Raises:
            AgentError: the environment cannot be made, raised, or speaks another protocol; or the agent failed.
            ModelError: the agent's model failed.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        episode = _Episode(self._world, turn, caller)
        asked = turn.model_copy(update={"messages": (*turn.messages, _said(_ASK, await episode.begin()))})
        action = ""
        while not episode.over:
            output = await self._agent.act(asked, caller)
            action = output.text.strip()
            seen = await episode.step(action)
            asked = asked.model_copy(update={"messages": (*(output.messages or asked.messages), _said(_NEXT, seen))})
        await episode.end()
        if on_text:
            await on_text(action)
        return output_of(turn, action, tuple(episode.uses))

    async def close(self) -> None:
        """Close the agent; the worlds are closed at the end of their episodes."""
        await self._agent.close()


class _Episode:
    """One environment from `reset` to its end, each action recorded."""

    def __init__(self, world: World, turn: Turn, caller: Caller) -> None:
        self.uses: list[ToolUse] = []
        self.over = False
        self._world = world
        self._turn = turn
        self._caller = caller
        self._environment: Any = None

    async def begin(self) -> str:
        """The first observation."""
        self._environment = await self._safely(lambda: self._world.make(**self._world.arguments), "cannot be made")
        if not (callable(getattr(self._environment, "reset", None)) and hasattr(self._environment, "step")):
            raise AgentError(f"{self._world.name} has no reset and step.", "Correct environment.import_path.")
        found = await self._safely(lambda: self._reset(self._environment.reset), "raised in reset")
        values: list[Any] = list(cast(tuple[Any, ...], found)) if isinstance(found, tuple) else []
        return _text(values[0] if len(values) == 2 and isinstance(values[1], dict) else found)

    async def step(self, action: str) -> str:
        """What is seen after the action; a world that was left in the middle is brought to where it was by itself.

        A resumed session takes the agent's words from the journal and does every action again in a new world, for the
        old one is gone; the record keeps one line for each.
        """
        fresh: list[Moment] = []

        async def run(_: ToolCall) -> str:
            fresh.append(await self._moment(action))
            return fresh[0].model_dump_json()

        arguments = json.dumps({"action": action}, ensure_ascii=False)
        call = ToolCall(id=f"action-{len(self.uses) + 1}", name=STEP, arguments=arguments)
        use = await self._caller.tool(run, call, _SPEC.model_copy(update={"effect": "none"}), self._turn.place)
        if use.error is not None:
            raise AgentError(use.error, "Correct the environment.")
        moment = fresh[0] if fresh else await self._moment(action)
        self.uses.append(use.model_copy(update={"output": moment.model_dump_json()}))
        self.over = moment.done or len(self.uses) >= self._world.max_steps
        return moment.observation

    async def end(self) -> None:
        """Close the environment where it can be closed."""
        close = getattr(self._environment, "close", None)
        if callable(close):
            await self._safely(close, "raised in close")

    async def _moment(self, action: str) -> Moment:
        try:
            return _moment(await self._safely(lambda: self._environment.step(action), "raised in step"))
        except (AgentError, TypeError, ValueError, LookupError) as error:
            raise ToolError(f"The environment {self._world.name}: {one_line(error)}") from error

    def _reset(self, reset: Callable[..., Any]) -> Any:
        """Reset to this task where `reset` takes one."""
        try:
            names = inspect.signature(reset).parameters
        except (TypeError, ValueError):
            names = {}
        wanted = next((name for name in _TASK_NAMES if name in names), None)
        return reset(**{wanted: self._turn.task.prompt}) if wanted else reset()

    async def _safely(self, work: Callable[[], Any], what: str) -> Any:
        try:
            result = await in_thread(work)
            return await result if inspect.isawaitable(result) else result
        except Exception as error:  # The boundary to the user's environment: whatever it raises is the agent's failure.
            raise AgentError(
                f"{self._world.name} {what}: {type(error).__name__}: {one_line(error)}", "Correct the environment."
            ) from error


def _moment(found: Any) -> Moment:
    """What `step` gave: (observation, reward, done[, info]), Gymnasium's five, or a mapping with these names.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(found, dict):
        named = cast(dict[str, Any], found)
        over = named.get("done", named.get("terminated", False)) or named.get("truncated", False)
        return Moment(observation=_text(named["observation"]), reward=float(named.get("reward", 0.0)), done=bool(over))
    values: list[Any] = list(cast(list[Any], found)) if isinstance(found, tuple | list) else []
    if not 3 <= len(values) <= 5:
        raise ValueError("step gave neither (observation, reward, done, info) nor Gymnasium's five values")
    over = values[2] or (values[3] if len(values) == 5 else False)
    return Moment(observation=_text(values[0]), reward=float(values[1]), done=bool(over))


def _text(observation: Any) -> str:
    if isinstance(observation, str):
        return scrub(observation)
    try:
        return scrub(to_json(observation).decode())
    except PydanticSerializationError:
        return scrub(str(observation))


def _said(form: str, seen: str) -> Message:
    return Message(role="user", content=form.replace("{seen}", seen))


def episode_reward(session: Session) -> float:
    """A check for the configuration: the sum of what the last try's actions earned, which must lie in [0, 1].

    Raises:
        JudgeError: there was no episode, or it earned something outside.
    """
    last: Attempt | None = session.attempts[-1] if session.attempts else None
    uses = [use for use in last.tools if use.call.name == STEP] if last else []
    if not uses:
        raise JudgeError("There was no episode.", "Name an environment in the configuration.")
    total = sum(Moment.model_validate_json(use.output).reward for use in uses)
    if not 0.0 <= total <= 1.0:
        raise JudgeError(f"The episode earned {total:g}.", "Scale the environment's rewards to a sum in [0, 1].")
    return total
