"""The runtimes that a process has open, on one event loop of Atlas's own."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from atlas.config import AtlasConfig
from atlas.runtime.build import open_runtime
from atlas.runtime.result import Result, result_of
from atlas.runtime.running import Running
from atlas.runtime.runtime import Runtime
from atlas.runtime.service import Service
from atlas.runtime.telemetry import ConsoleTelemetryStreamer
from atlas.schema import Lane, Task

EXIT_SECONDS = 60.0
"""At interpreter exit: how long judging that is still under way may take."""
KEPT_OPEN = 8
"""Runtimes that stay open for the next session; of more, those that rest longest are closed."""


@dataclass(frozen=True)
class Order:
    """Which runtime a session needs; equal orders share one."""

    config: AtlasConfig
    """What is configured."""
    function: Callable[..., Any] | None = None
    """The agent, where it was given as a function."""
    user_loop: asyncio.AbstractEventLoop | None = None
    """Where the user's async code belongs; None: the loop of Atlas."""
    stream: bool = False
    """Whether progress is shown."""

    @property
    def home(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the ordered runtime is tied to, where it runs code of the user's."""
        return self.user_loop if self.function is not None or self.config.uses_user_code else None

    @cached_property
    def key(self) -> object:
        """Equal for orders that can share a runtime."""
        return (self.config.model_dump_json(), self.function, self.home, self.stream)


@dataclass(slots=True)
class _Open:
    """A runtime and what is known of its use."""

    opening: asyncio.Task[Runtime]
    home: asyncio.AbstractEventLoop | None
    running: set[Running] = field(default_factory=set[Running])
    entering: int = 0

    @property
    def rests(self) -> bool:
        return self.opening.done() and not self.entering and not self.running

    @property
    def orphaned(self) -> bool:
        """Whether the loop that its code belongs to is gone: nobody can order it again."""
        return self.home is not None and self.home.is_closed()


class Host:
    """The process's service and the runtimes it has opened."""

    def __init__(self) -> None:
        self.service = Service()
        self._open: dict[object, _Open] = {}
        self._closing: set[asyncio.Task[None]] = set()
        _before_threads_end(self.close)

    def submit(self, order: Order, task: Task, lane: Lane | None, metadata: Mapping[str, Any] | None) -> Future[Result]:
        """Play a task in the ordered runtime; the result is there at the moment of its answer."""
        return self.service.submit(self._answer(order, task, lane, metadata))

    async def _answer(self, order: Order, task: Task, lane: Lane | None, metadata: Mapping[str, Any] | None) -> Result:
        opened = self._ordered(order)
        opened.entering += 1
        try:
            runtime = await self._opened(order, opened)
            running = await runtime.start(task, lane=lane, metadata=metadata)
            opened.running.add(running)
            running.when_done(lambda: opened.running.discard(running))
        finally:
            opened.entering -= 1
        session = await running.answered()
        return result_of(session, running.events, self.service.submit(_settled(running)))

    def _ordered(self, order: Order) -> _Open:
        """The open runtime for this order, or a new one; it becomes the one used last."""
        opened = self._open.pop(order.key, None)
        if opened is None:
            self._make_room()
            opened = _Open(asyncio.create_task(_open(order)), order.home)
        self._open[order.key] = opened
        return opened

    async def _opened(self, order: Order, opened: _Open) -> Runtime:
        try:
            return await asyncio.shield(opened.opening)
        except Exception:
            self._open.pop(order.key, None)
            raise

    def _make_room(self) -> None:
        """Close runtimes that nobody can order again, and those beyond `KEPT_OPEN` that rest longest."""
        for key, opened in list(self._open.items()):
            if opened.rests and (opened.orphaned or len(self._open) >= KEPT_OPEN):
                del self._open[key]
                closing = asyncio.create_task(_close(opened))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def close(self) -> None:
        """Settle and close what is open, within a bounded time."""
        if self.service.alive:
            closing = self.service.submit(self._close())
            try:
                closing.result(EXIT_SECONDS)
            except TimeoutError:
                closing.cancel()
            self.service.stop()

    async def _close(self) -> None:
        for opened in self._open.values():
            await _close(opened)
        await asyncio.gather(*self._closing)


def _before_threads_end(callback: Callable[[], None]) -> None:
    """Call back at interpreter exit while worker threads can still be started.

    `atexit` comes too late: by then the standard thread pools refuse work that pending judging needs.
    """
    import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport] - its exit hook has to be set before ours, so that ours runs first

    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    register(callback)


async def _open(order: Order) -> Runtime:
    runtime = await open_runtime(order.config, folder=Path.cwd(), agent=order.function, user_loop=order.user_loop)
    if order.stream:
        ConsoleTelemetryStreamer().attach(runtime.bus)
    return runtime


async def _close(opened: _Open) -> None:
    await (await opened.opening).close()


async def _settled(running: Running) -> Result:
    return result_of(await running.settled(), running.events)
