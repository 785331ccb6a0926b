"""The gate: the user's word on a step before it is taken."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from atlas.agents.threads import in_thread, on_loop
from atlas.models import RunTool
from atlas.models.text import one_line
from atlas.schema import Effect, Noun, Task, ToolCall
from atlas.schema.errors import ToolError

GateFunction = Callable[["StepRequest"], Any]
"""Takes a `StepRequest`, gives True or None to let it pass; False or a text, the reason, refuses. Sync or async."""


class StepRequest(Noun):
    """A step that is about to be taken: a tool call of a model, or a `ctx.step` of the user's code."""

    task: Task
    """The session's task."""
    name: str
    """Which tool or step."""
    arguments: str
    """Its arguments as JSON text, not yet checked."""
    effect: Effect
    """What taking it twice would do."""


class Gate:
    """Asks the user's function before each step. A gate that fails refuses: it is there to hold things back."""

    def __init__(self, function: GateFunction | None = None, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Without a function every step passes. An async one runs on `loop`, its maker's event loop, if given."""
        self._function = function
        self._loop = loop

    @property
    def holds(self) -> bool:
        """Whether there is a function to ask."""
        return self._function is not None

    def guarding(self, run: RunTool, task: Task, effect: Effect) -> RunTool:
        """`run`, but only once the gate lets the call pass."""
        if self._function is None:
            return run

        async def guarded(call: ToolCall) -> str:
            await self.check(StepRequest(task=task, name=call.name, arguments=call.arguments, effect=effect))
            return await run(call)

        return guarded

    async def check(self, asked: StepRequest) -> None:
        """Ask.

        Raises:
            ToolError: it refuses, or it failed; the step is not taken.
        """
        if self._function is None:
            return
        try:
            said = await self._ask(self._function, asked)
        except Exception as error:  # The boundary to the user's gate: what it raises is a refusal.
            raise ToolError(
                f"{asked.name} was not run: the gate raised {type(error).__name__}: {one_line(error)}"
            ) from error
        if said is not None and said is not True:
            reason = f": {one_line(said)}" if said is not False else ""
            raise ToolError(f"{asked.name} was not run: the gate refused it{reason}")

    async def _ask(self, function: GateFunction, asked: StepRequest) -> object:
        if inspect.iscoroutinefunction(function):
            work: Awaitable[object] = function(asked)
            return await on_loop(work, self._loop)
        return await in_thread(lambda: function(asked))
