"""The front door: `run` and `arun` take a task through the loop and give back a typed result."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypedDict

from typing_extensions import Unpack

from atlas.config import AtlasConfig, config_for, load_config
from atlas.runtime import Result, Running, Runtime, Service, open_runtime, result_of
from atlas.runtime.telemetry import ConsoleTelemetryStreamer
from atlas.schema import Lane, Task
from atlas.schema.errors import ConfigError

__all__ = ["Result", "arun", "run"]

AgentLike = str | Callable[..., Any]
"""`provider:model`, or a function (sync, async, generator) that takes a prompt."""

EXIT_SECONDS = 60.0
"""At interpreter exit: how long judging that is still under way may take."""


class Options(TypedDict, total=False):
    """What `run` takes by keyword only."""

    agent: AgentLike
    """`provider:model` or a function, instead of a configuration; then nothing is stored."""
    api_base: str
    """Base URL of an OpenAI-compatible server, for `agent="provider:model"`."""
    config: AtlasConfig
    """A configuration already loaded."""
    lane: Lane
    """A lane for this session, whatever the router would say."""
    learning_key: str
    """Groups sessions that learn from each other."""
    tenant: str
    """Owner; memory is never shared between tenants."""


def run(
    task: str | Task,
    config_path: str | Path | None = None,
    stream_progress: bool | None = None,
    session_metadata: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Take a task through the loop and return its result; judging and learning go on behind it (`result.wait()`).

    Give one of `config_path` (a YAML file), `config`, or `agent`. Works in a script, in a thread and inside a running
    event loop. `session_metadata["learning_key"]` groups sessions as the option does. `stream_progress` shows the
    session while it runs; None shows it on a terminal only.

    Raises:
        ConfigError: the configuration or an argument is wrong.
        ModelError, AgentError, StoreError: the session failed; `error.session_id` names its record.
        KeyboardInterrupt: Ctrl-C; the session is recorded as interrupted and can be resumed.
    """
    future = _submit(_task(task, session_metadata, options), config_path, stream_progress, session_metadata, options)
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise


async def arun(
    task: str | Task,
    config_path: str | Path | None = None,
    stream_progress: bool | None = None,
    session_metadata: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Result:
    """As `run`, for code with an event loop; many may run at once and share one store pool and one HTTP session.

    The user's async agent and tools run in the calling loop, everything else in Atlas's own.
    """
    future = _submit(_task(task, session_metadata, options), config_path, stream_progress, session_metadata, options)
    return await asyncio.wrap_future(future)


def _task(task: str | Task, metadata: Mapping[str, Any] | None, options: Options) -> Task:
    if isinstance(task, Task):
        return task
    key = options.get("learning_key") or (metadata or {}).get("learning_key") or "default"
    return Task(prompt=task, learning_key=str(key), tenant=options.get("tenant", "default"))


def _submit(
    task: Task,
    config_path: str | Path | None,
    stream_progress: bool | None,
    metadata: Mapping[str, Any] | None,
    options: Options,
) -> Future[Result]:
    config, function = _configuration(config_path, options)
    try:
        user_loop = asyncio.get_running_loop()
    except RuntimeError:
        user_loop = None
    stream = sys.stderr.isatty() if stream_progress is None else stream_progress
    host = _host()
    return host.service.submit(
        host.answer(_Order(config, function, user_loop, stream), task, options.get("lane"), metadata)
    )


def _configuration(config_path: str | Path | None, options: Options) -> tuple[AtlasConfig, Callable[..., Any] | None]:
    agent, config = options.get("agent"), options.get("config")
    if sum(given is not None for given in (config_path, agent, config)) != 1:
        raise ConfigError(
            "Give exactly one of config_path, config and agent.", 'For example: run("…", agent="openai:gpt-5").'
        )
    if config_path is not None:
        return load_config(config_path), None
    if config is not None:
        return config, None
    if isinstance(agent, str):
        return config_for(agent, api_base=options.get("api_base")), None
    return config_for(None), agent


class _Order:
    """Which runtime a session needs; equal orders share one."""

    def __init__(
        self,
        config: AtlasConfig,
        function: Callable[..., Any] | None,
        user_loop: asyncio.AbstractEventLoop | None,
        stream: bool,
    ) -> None:
        self.config, self.function, self.user_loop, self.stream = config, function, user_loop, stream
        own_code = function is not None or config.uses_user_code
        self.key = (config.model_dump_json(), function, user_loop if own_code else None, stream)


class _Host:
    """The process's service and the runtimes it has opened."""

    def __init__(self) -> None:
        self.service = Service()
        self._runtimes: dict[object, asyncio.Task[Runtime]] = {}
        _before_threads_end(self.close)

    async def answer(self, order: _Order, task: Task, lane: Lane | None, metadata: Mapping[str, Any] | None) -> Result:
        """A session's result at the moment of its answer."""
        runtime = await self._runtime(order)
        running = await runtime.start(task, lane=lane, metadata=metadata)
        session = await running.answered()
        settled = self.service.submit(_settled(running))
        return result_of(session, running.events, settled)

    async def _runtime(self, order: _Order) -> Runtime:
        if order.key not in self._runtimes:
            self._runtimes[order.key] = asyncio.create_task(_open(order))
        opening = self._runtimes[order.key]
        try:
            return await asyncio.shield(opening)
        except Exception:
            self._runtimes.pop(order.key, None)
            raise

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
        for opening in self._runtimes.values():
            await (await opening).close()


def _before_threads_end(callback: Callable[[], None]) -> None:
    """Call back at interpreter exit while worker threads can still be started.

    `atexit` comes too late: by then the standard thread pools refuse work that pending judging needs.
    """
    import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport] - its exit hook has to be set before ours, so that ours runs first

    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    register(callback)


async def _open(order: _Order) -> Runtime:
    runtime = await open_runtime(order.config, folder=Path.cwd(), agent=order.function, user_loop=order.user_loop)
    if order.stream:
        ConsoleTelemetryStreamer().attach(runtime.bus)
    return runtime


async def _settled(running: Running) -> Result:
    return result_of(await running.settled(), running.events)


_the_host: _Host | None = None


def _host() -> _Host:
    """The process's host; a forked child gets its own."""
    global _the_host
    if _the_host is None or not _the_host.service.alive:
        _the_host = _Host()
    return _the_host
