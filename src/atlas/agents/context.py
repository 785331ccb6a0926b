"""What the user's own code is given beside its prompt: `ctx`."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic_core import to_json

from atlas.agents.base import Turn
from atlas.agents.gate import Gate
from atlas.agents.prompting import guidance_of, injected, playbook_of
from atlas.agents.threads import in_thread, on_loop
from atlas.models import Caller, OnText
from atlas.models.text import one_line, scrub
from atlas.schema import Effect, Message, Noun, Task, ToolCall, ToolSpec, ToolUse
from atlas.schema.errors import AgentError, ToolError

T = TypeVar("T")

_PAUSE_S = 0.2
"""Before a step is tried again; it doubles with each try."""


class Budget(Noun):
    """What a turn may still spend."""

    seconds: float
    """Until the turn is cut off."""
    tokens: int | None
    """Of all the session's model calls together; None is unbounded."""


@dataclass
class Desk:
    """One turn of the user's code: where its steps are recorded and its words go."""

    turn: Turn
    """What it was asked."""
    caller: Caller
    """The door to the record."""
    gate: Gate = field(default_factory=Gate)
    """Asked before each step."""
    on_text: OnText | None = None
    """Receives the agent's words while they stream."""
    user_loop: asyncio.AbstractEventLoop | None = None
    """Where the user's async code runs; None is the running loop."""
    uses: list[ToolUse] = field(default_factory=list[ToolUse])
    """Steps so far, in order."""

    async def step(self, call: ToolCall, run: Callable[[], Any], effect: Effect, retries: int) -> Any:
        """The step's result as JSON brings it back, from the journal where an interrupted run has finished it.

        Raises:
            ToolError: the gate refused it, or every try failed.
        """
        turn = self.turn

        async def once(_: ToolCall) -> str:
            return await self._tried(call.name, run, retries)

        guarded = self.gate.guarding(once, turn.task, effect)
        spec = ToolSpec(name=call.name, effect=effect)
        use = await self.caller.tool(guarded, call, spec, turn.place, timeout_s=self.caller.remaining_s(turn.timeout_s))
        self.uses.append(use)
        if use.error is not None:
            raise ToolError(use.error)
        return json.loads(use.output)

    async def emit(self, text: str) -> None:
        """Hand a piece of the answer to whoever listens."""
        if self.on_text:
            await self.on_text(scrub(text))

    async def _tried(self, name: str, run: Callable[[], Any], retries: int) -> str:
        tries = 0
        while True:
            try:
                return to_json(await self._called(run)).decode()
            except Exception as error:  # The boundary to the user's step: what it raises is the step's recorded error.
                if tries >= retries:
                    raise ToolError(f"{name} raised {type(error).__name__}: {one_line(error)}") from error
            await asyncio.sleep(_PAUSE_S * 2**tries)
            tries += 1

    async def _called(self, run: Callable[[], Any]) -> Any:
        result = run() if inspect.iscoroutinefunction(run) else await in_thread(run)
        return await on_loop(result, self.user_loop) if inspect.isawaitable(result) else result


class AgentContext:
    """What an agent may know and do beside its prompt."""

    def __init__(self, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        """`loop` is the one that the desk lives on."""
        self._desk = desk
        self._loop = loop

    @property
    def task(self) -> Task:
        """The session's task, payload included."""
        return self._desk.turn.task

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, earlier tries and guidance included."""
        return self._desk.turn.messages

    @property
    def playbook(self) -> str:
        """The playbook entries of this session, one a line; empty when there are none."""
        return playbook_of(self._desk.turn)

    @property
    def guidance(self) -> str | None:
        """The reviewer's words on the last try; None at the first."""
        return guidance_of(self._desk.turn)

    @property
    def context(self) -> str:
        """Guidance and playbook as one text to put before a model; empty when there is nothing. The prompt has it."""
        return injected(self._desk.turn)

    @property
    def attempt(self) -> int:
        """1 for the first try, 2 for the first retry, ..."""
        return self._desk.turn.place.attempt

    @property
    def budget(self) -> Budget:
        """What is left.

        Raises:
            ModelTimeout: the session's time is spent.
        """
        caller = self._desk.caller
        return Budget(seconds=caller.remaining_s(self._desk.turn.timeout_s), tokens=caller.tokens_left)

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        effects: Effect = "external",
        retries: int = 0,
    ) -> Any:
        """Call `function(**arguments)` as a step that is recorded, gated, and not done twice by a resumed session.

        A sync agent gets the result; an async one awaits it. The result is what JSON makes of the function's. `retries`
        more tries follow a failure, of steps only whose effect may happen twice.

        Raises:
            ToolError: the gate refused it, or every try failed.
            AgentError: the arguments are no JSON, or an `external` step asks for retries.
        """
        if retries and effects == "external":
            raise AgentError(f"The step {name} may not be done twice.", "Declare effects='idempotent', or no retries.")
        given = dict(arguments or {})
        try:
            text = json.dumps(given, ensure_ascii=False, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise AgentError(f"The arguments of step {name} are no JSON: {one_line(error)}.") from None
        call = ToolCall(id=f"step-{len(self._desk.uses) + 1}", name=name, arguments=scrub(text))
        run = _bound(function, given)
        return self._here(self._desk.step(call, run, effects, retries))

    def emit(self, text: str) -> Any:
        """Hand a piece of the answer to whoever listens, while the work goes on; an async agent awaits it."""
        return self._here(self._desk.emit(text))

    def _here(self, work: Coroutine[Any, Any, T]) -> T | Awaitable[T]:
        """The result itself where nothing can be awaited, else something to await."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        return on_loop(work, self._loop)


def _bound(function: Callable[..., Any], given: dict[str, Any]) -> Callable[[], Any]:
    """The call without arguments; still a coroutine function where the function is one."""
    if inspect.iscoroutinefunction(function):

        async def later() -> Any:
            return await function(**given)

        return later
    return lambda: function(**given)
