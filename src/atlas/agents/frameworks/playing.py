"""What the adapters of frameworks share: a turn of somebody else's agent, with what its hooks tell put on record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json

from atlas.agents.adapting import Surroundings
from atlas.agents.answers import Unusable, as_text, output_of, recorded
from atlas.agents.base import Abilities, Output, Turn
from atlas.agents.context import Desk
from atlas.agents.prompting import prompt_of
from atlas.agents.threads import on_loop
from atlas.models import Caller, OnText
from atlas.models.text import one_line, scrub
from atlas.schema import Completion, Message, Request, ToolCall, ToolUse, Usage
from atlas.schema.errors import AgentError, AtlasError, ToolError


@dataclass(frozen=True, slots=True)
class Heard:
    """One model call that a framework made by itself."""

    model: str
    """As the framework calls it."""
    asked: tuple[Message, ...]
    """What was sent, as far as the framework tells."""
    said: Message
    """What came back."""
    usage: Usage
    """What it consumed."""
    latency_s: float
    """Seconds, from the framework's hooks."""


class Desktop:
    """The record of one turn, from whatever event loop or thread the framework's hooks run in."""

    def __init__(self, desk: Desk) -> None:
        """Made on the event loop that the record lives on."""
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self._started: dict[str, float] = {}

    @property
    def prompt(self) -> str:
        """Request, guidance and playbook as one text."""
        return prompt_of(self._desk.turn)

    def start(self, key: str) -> None:
        """Note when something began."""
        self._started[key] = time.perf_counter()

    def lasted_s(self, key: str) -> float:
        """Seconds since `start`; 0 where nobody noted it."""
        now = time.perf_counter()
        return now - self._started.pop(key, now)

    async def model(self, heard: Heard) -> None:
        """Put a model call on record.

        Raises:
            BudgetError: it spent the session's last tokens.
        """
        request = Request(messages=heard.asked)
        completion = Completion(message=heard.said, usage=heard.usage, model=heard.model)
        caller, place = self._desk.caller, self._desk.turn.place
        work = caller.observed(heard.model, request, completion, place, latency_s=heard.latency_s)
        await on_loop(work, self._loop)

    async def tool(self, name: str, arguments: str, output: object, *, error: str | None = None, key: str = "") -> None:
        """Put a tool call on record that has already been made."""
        call = ToolCall(id=key or f"tool-{len(self._desk.uses) + 1}", name=name, arguments=scrub(arguments))
        use = ToolUse(call=call, output="" if error else plain(output), error=error)
        self._desk.uses.append(use)
        caller, place = self._desk.caller, self._desk.turn.place
        work = caller.observed_tool(use, "external", place, latency_s=self.lasted_s(key))
        await on_loop(work, self._loop)

    async def step(self, name: str, arguments: str, run: Callable[[], Awaitable[Any]]) -> Any:
        """Make a tool call as a step: gated, recorded, not made twice. Gives what JSON makes of its result.

        Raises:
            ToolError: the gate refused it, or an interrupted run left it unknown.
            Exception: whatever the tool raised, itself: frameworks steer by exceptions.
        """
        raised: list[BaseException] = []

        async def kept() -> Any:
            try:
                return await run()
            except Exception as error:
                raised.append(error)
                raise

        call = ToolCall(id=f"step-{len(self._desk.uses) + 1}", name=name, arguments=scrub(arguments))
        try:
            return await on_loop(self._desk.step(call, kept, "external", 0), self._loop)
        except ToolError:
            if raised:
                raise raised[0] from None
            raise

    def wait(self, work: Awaitable[None]) -> None:
        """For hooks that are not async and run in a thread: wait until it is on record."""

        async def awaited() -> None:
            await work

        asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()


class Play(Protocol):
    """One turn of a framework's agent."""

    def __call__(self, desktop: Desktop) -> Awaitable[object]:
        """What it answers; its hooks tell `desktop`."""
        ...


class FrameworkAgent:
    """An agent of a framework, taken as it is."""

    def __init__(self, name: str, play: Play, around: Surroundings, abilities: Abilities) -> None:
        self._name = name
        self._play = play
        self._around = around
        self._abilities = abilities

    @property
    def name(self) -> str:
        """The framework and the agent's own name."""
        return self._name

    @property
    def plans(self) -> bool:
        """It has ways of its own; it is not asked for a plan."""
        return False

    @property
    def abilities(self) -> Abilities:
        """What the framework's hooks allow."""
        return self._abilities

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """Its answer; its model and tool calls are on record.

        Raises:
            AgentError: it raised, did not finish in time, or answered nothing usable.
            BudgetError: its model calls spent the session's tokens.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        timeout_s = caller.remaining_s(turn.timeout_s)
        desk = Desk(turn, caller, gate=self._around.gate, on_text=on_text, user_loop=self._around.loop)
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                text = as_text(jsonable(await on_loop(self._play(Desktop(desk)), self._around.loop)))
        except Exception as error:  # The boundary to the framework: whatever it raises is the agent's failure.
            if isinstance(error, AtlasError) and not isinstance(error, ToolError):
                raise
            raise self._failure(error, timeout_s if limit.expired() else None) from error
        if on_text:
            await on_text(text)
        return output_of(turn, text, tuple(desk.uses))

    async def close(self) -> None:
        """Nothing to give back: the agent is the user's."""

    def _failure(self, error: Exception, timeout_s: float | None) -> AgentError:
        if timeout_s is not None:
            return AgentError(
                f"{self._name} did not answer within {timeout_s:g} s.", "Raise orchestration.step_timeout_seconds."
            )
        if isinstance(error, Unusable):
            return AgentError(f"{self._name} {error}.", "Let its output be text, or something that JSON can carry.")
        return AgentError(f"{self._name} raised {type(error).__name__}: {one_line(error)}", "Correct the agent.")


def jsonable(found: object) -> object:
    """A framework's typed result as plain data; text as it is."""
    import json

    return found if isinstance(found, str) or found is None else json.loads(to_json(found, fallback=str))


def plain(found: object) -> str:
    """Any result as text; JSON where it is no text."""
    return found if isinstance(found, str) else to_json(found, fallback=str).decode()
