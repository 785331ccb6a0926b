"""The front door: `run` and `arun` take a task through the loop and give back a typed result."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ValidationError
from pydantic_core import to_json
from typing_extensions import Unpack

from atlas.config import AtlasConfig, config_for, load_config
from atlas.runtime import Host, Order, Result
from atlas.schema import LANES, Lane, Task
from atlas.schema.errors import ConfigError

__all__ = ["Result", "arun", "run"]

AgentLike = str | Callable[..., Any]
"""`provider:model`, or a function (sync, async, generator) that takes a prompt."""


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


_OFFERED = f"Offered are {', '.join(Options.__annotations__)}."


def run(
    task: str | Task,
    config_path: str | Path | None = None,
    stream_progress: bool | None = None,
    session_metadata: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Take a task through the loop and return its result; judging and learning go on behind it (`result.wait()`).

    Give one of `config_path` (a YAML file), `config`, or `agent`. Works in a script, in a thread and inside a running
    event loop; it blocks that loop, so async code of the user's runs in Atlas's own.
    `session_metadata["learning_key"]` groups sessions as the option does. `stream_progress` shows the session while it
    runs; None shows it on a terminal only.

    Raises:
        ConfigError: the configuration or an argument is wrong.
        ModelError, AgentError, StoreError: the session failed; `error.session_id` names its record.
        KeyboardInterrupt: Ctrl-C; the session is recorded as interrupted and can be resumed.
    """
    future = _submit(task, config_path, stream_progress, session_metadata, options, None)
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
    loop = asyncio.get_running_loop()
    future = _submit(task, config_path, stream_progress, session_metadata, options, loop)
    return await asyncio.wrap_future(future)


def _submit(
    task: str | Task,
    config_path: str | Path | None,
    stream_progress: bool | None,
    metadata: Mapping[str, Any] | None,
    options: Options,
    user_loop: asyncio.AbstractEventLoop | None,
) -> Future[Result]:
    _check(metadata, options)
    asked = _task(task, metadata, options)
    config, function = _configuration(config_path, options)
    stream = sys.stderr.isatty() if stream_progress is None else stream_progress
    return _host().submit(Order(config, function, user_loop, stream), asked, options.get("lane"), metadata)


def _check(metadata: Mapping[str, Any] | None, options: Options) -> None:
    """Hold what a caller gave against what is offered."""
    for name in options:
        if name not in Options.__annotations__:
            near = get_close_matches(name, Options.__annotations__, n=1)
            raise ConfigError(f"There is no argument {name}.", f"Did you mean {near[0]}?" if near else _OFFERED)
    if options.get("lane") not in (None, *LANES):
        raise ConfigError(f"There is no lane {options.get('lane')!r}.", f"Lanes are {', '.join(LANES)}.")
    if metadata is not None and not _storable(metadata):
        raise ConfigError("session_metadata cannot be stored.", "Give a mapping of names to values that JSON can hold.")


def _storable(metadata: Mapping[Any, Any]) -> bool:
    try:
        return bool(to_json(dict(metadata))) and all(isinstance(name, str) for name in metadata)
    except (TypeError, ValueError, RecursionError):
        return False


def _task(task: str | Task, metadata: Mapping[str, Any] | None, options: Options) -> Task:
    if isinstance(task, Task):
        return task
    key = options.get("learning_key") or (metadata or {}).get("learning_key") or "default"
    try:
        asked = Task(prompt=task, learning_key=str(key), tenant=options.get("tenant", "default"))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(
            f"The task's {wrong['loc'][0]} is wrong: {wrong['msg']}.", "Give a text, or a Task."
        ) from None
    if not asked.prompt.strip():
        raise ConfigError("The task is empty.", "Say what is asked.")
    return asked


def _configuration(config_path: str | Path | None, options: Options) -> tuple[AtlasConfig, Callable[..., Any] | None]:
    agent, config = options.get("agent"), options.get("config")
    if sum(given is not None for given in (config_path, agent, config)) != 1:
        raise ConfigError(
            "Give exactly one of config_path, config and agent.", 'For example: run("…", agent="openai:gpt-5").'
        )
    if options.get("api_base") is not None and not isinstance(agent, str):
        raise ConfigError('api_base goes with agent="provider:model".', "In a configuration it is llm.api_base.")
    if config_path is not None:
        if not isinstance(config_path, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance] - a door
            raise ConfigError(f"config_path is no path: {config_path!r}.", "Give the path of a YAML file.")
        return load_config(config_path), None
    if config is not None:
        return config, None
    if isinstance(agent, str):
        return config_for(agent, api_base=options.get("api_base")), None
    return config_for(None), agent


_the_host: Host | None = None


def _host() -> Host:
    """The process's host; a forked child gets its own."""
    global _the_host
    if _the_host is None or not _the_host.service.alive:
        _the_host = Host()
    return _the_host
