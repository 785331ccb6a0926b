"""An agent that is the user's own Python function."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from atlas.agents.answers import Unusable, as_text, output_of, recorded
from atlas.agents.base import Abilities, Output, Turn
from atlas.agents.context import AgentContext, Desk
from atlas.agents.gate import Gate
from atlas.agents.prompting import prompt_of
from atlas.agents.threads import in_thread, on_loop
from atlas.models import Caller, OnText
from atlas.models.text import one_line, scrub
from atlas.schema.errors import AgentError, AtlasError, ConfigError, ToolError

Feed = Callable[[object], None]

_CONTEXT_NAMES = ("ctx", "context")
_END = object()


class PythonAgent:
    """A function of the prompt: sync, async, a generator or an async generator of text."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        gate: Gate | None = None,
    ) -> None:
        """The function gets the prompt as text, and an `AgentContext` if a second parameter asks for it. A class is
        made without arguments; its `act` or `__call__` is the function.

        A sync function runs in a thread of its own; an async one on `loop`, the event loop of whoever made it, if one
        is given. `gate` is asked before each of its `ctx.step`s.

        Raises:
            ConfigError: it cannot be called with a prompt.
        """
        self._name = name or f"python:{getattr(function, '__name__', type(function).__name__)}"
        self._function = _entry(function, self._name)
        self._loop = loop
        self._gate = gate or Gate()
        self._wants_context = _wants_context(self._function, self._name)

    @property
    def name(self) -> str:
        """`python:` and the function's name, unless another was given."""
        return self._name

    @property
    def plans(self) -> bool:
        """A function answers; it is not asked for a plan."""
        return False

    @property
    def abilities(self) -> Abilities:
        """A function that takes `ctx` has its steps recorded, gated and kept; of another one there is the result."""
        return Abilities(traces=self._wants_context, steps=self._wants_context)

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """What the function returns; a mapping or a list as JSON.

        Raises:
            AgentError: it raised, did not finish in time, or returned nothing usable.
            ModelTimeout: the session's time is spent.
            StoreError: a step could not be recorded.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        timeout_s = caller.remaining_s(turn.timeout_s)
        desk = Desk(turn, caller, gate=self._gate, on_text=on_text, user_loop=self._loop)
        context = AgentContext(desk, asyncio.get_running_loop())
        arguments = (prompt_of(turn), context) if self._wants_context else (prompt_of(turn),)
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                text = as_text(await self._call(arguments, on_text))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise AgentError(f"{self._name} cancelled itself.", "Correct the function.") from None
        except Exception as error:  # The boundary to the user's function: whatever it raises is the agent's failure.
            if isinstance(error, AtlasError) and not isinstance(error, ToolError):
                raise  # A step found the store, the budget or the session's time gone: not the function's fault.
            raise self._failure(error, timeout_s if limit.expired() else None) from error
        return output_of(turn, text, tuple(desk.uses))

    async def close(self) -> None:
        """Nothing to give back: the function is the user's."""

    def _failure(self, error: Exception, timeout_s: float | None) -> AgentError:
        if timeout_s is not None:
            return AgentError(
                f"{self._name} did not answer within {timeout_s:g} s.",
                "Make it faster, or raise orchestration.step_timeout_seconds.",
            )
        if isinstance(error, Unusable):
            return AgentError(f"{self._name} {error}.", "Return the answer as text.")
        return AgentError(f"{self._name} raised {type(error).__name__}: {one_line(error)}", "Correct the function.")

    async def _call(self, arguments: tuple[object, ...], on_text: OnText | None) -> object:
        """What the function makes of its arguments, whichever of the four kinds it is."""
        function = self._function
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            result = function(*arguments)
        else:
            result = await in_thread(lambda: function(*arguments))
        if inspect.isawaitable(result):
            result = await on_loop(result, self._loop)
        if isinstance(result, AsyncIterator):
            pieces = cast(AsyncIterator[object], result)
            return await _gathered(lambda feed, _: on_loop(_drained(pieces, feed), self._loop), on_text)
        if isinstance(result, Iterator):
            produced = cast(Iterator[object], result)
            return await _gathered(lambda feed, stop: in_thread(lambda: _pumped(produced, feed, stop)), on_text)
        return result


def _entry(given: Callable[..., Any], name: str) -> Callable[..., Any]:
    """What is called: a function itself; of a class a new instance, by its `act` if it has one."""
    if not inspect.isclass(given):
        return given
    try:
        instance = given()
    except Exception as error:  # The boundary to the user's class.
        raise ConfigError(
            f"{name} cannot be made: {type(error).__name__}: {one_line(error)}",
            "Give it a constructor without arguments.",
        ) from error
    entry = getattr(instance, "act", instance)
    if not callable(entry):
        raise ConfigError(f"{name} has neither act nor __call__.", "Write one of them.")
    return entry


def _wants_context(function: Callable[..., Any], name: str) -> bool:
    """Whether a second parameter asks for the context: it has no default, or is called `ctx` or `context`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False  # A builtin without a signature: it gets the prompt alone.
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [each for each in parameters if each.kind in plain]
    open_ended = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    second = positional[1] if len(positional) > 1 else None
    wants = second is not None and (second.default is second.empty or second.name in _CONTEXT_NAMES)
    given = 1 + wants
    missing = [
        each.name
        for each in (*positional[given:], *(each for each in parameters if each.kind is each.KEYWORD_ONLY))
        if each.default is each.empty
    ]
    if missing or not (positional or open_ended):
        raise ConfigError(
            f"{name} cannot be called with a prompt" + (f": it also wants {missing[0]!a}." if missing else "."),
            "Write it as def agent(prompt) or def agent(prompt, ctx).",
        )
    return wants


async def _drained(pieces: AsyncIterator[object], feed: Feed) -> None:
    async for piece in pieces:
        feed(piece)


def _pumped(pieces: Iterator[object], feed: Feed, stop: threading.Event) -> None:
    for piece in pieces:
        if stop.is_set():
            return
        feed(piece)


async def _gathered(produce: Callable[[Feed, threading.Event], Awaitable[None]], on_text: OnText | None) -> str:
    """The joined pieces of a producer on another thread or loop, each handed on as it comes."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[object] = asyncio.Queue()
    stop = threading.Event()

    def feed(piece: object) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, piece)

    work = asyncio.ensure_future(produce(feed, stop))
    work.add_done_callback(lambda _: queue.put_nowait(_END))
    parts: list[str] = []
    try:
        while (piece := await queue.get()) is not _END:
            if not isinstance(piece, str):
                raise Unusable(f"yielded a {type(piece).__name__} where text was expected")
            parts.append(scrub(piece))
            if on_text:
                await on_text(parts[-1])
        await work
    finally:
        stop.set()
        work.cancel()
    return "".join(parts)
