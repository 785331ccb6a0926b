"""One session in the foreground: its answer on stdout, its progress on stderr, Ctrl-C that leaves it resumable."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.app import INTERRUPTED, OK, code_of, complain
from atlas.cli.text import say, session_line
from atlas.runtime import Running, Runtime, open_runtime, result_of
from atlas.runtime.telemetry import EVERYWHERE, ConsoleTelemetryStreamer, EventBus, Subscription
from atlas.schema.errors import AtlasError
from atlas.schema.events import Answered

if TYPE_CHECKING:
    from atlas.config import AtlasConfig

Begin = Callable[[Runtime], Awaitable[Running]]
"""Starts or resumes the session."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a session is shown."""

    stream: bool | None
    """Progress on stderr; None: on a terminal only."""
    as_json: bool
    """The result as one JSON object on stdout, after its events where they are streamed."""

    def attach(self, bus: EventBus) -> Subscription | None:
        """Show the bus's events in this manner."""
        if self.as_json:
            return ConsoleTelemetryStreamer(sys.stdout, mode="json").attach(bus) if self.stream else None
        stream = sys.stderr.isatty() if self.stream is None else self.stream
        return ConsoleTelemetryStreamer().attach(bus) if stream else None


def play(config: AtlasConfig, folder: Path, begin: Begin, manner: Manner) -> int:
    """Run one session to its end; gives the exit code."""
    return asyncio.run(_play(config, folder, begin, manner))


async def _play(config: AtlasConfig, folder: Path, begin: Begin, manner: Manner) -> int:
    bus = EventBus(parent=EVERYWHERE)
    shown = manner.attach(bus)
    _stop_on_sigterm()
    try:
        async with await open_runtime(config, folder=folder, bus=bus) as runtime:
            running = await begin(runtime)
            try:
                return await _answer(running, manner, shown)
            except asyncio.CancelledError:
                await running.interrupt()
                await _seen(shown)
                return _interrupted(running, resumable=config.storage is not None)
    finally:
        await bus.aclose()


async def _answer(running: Running, manner: Manner, shown: Subscription | None) -> int:
    try:
        session = await running.answered()
    except AtlasError as error:
        await _seen(shown)
        complain(error)
        click.echo(
            f"atlas: session {running.session_id} failed; see: atlas session show {running.session_id}", err=True
        )
        return code_of(error)
    if not manner.as_json:
        await _seen(shown)
        say(session.answer or "")
    session = await running.settled()
    await _seen(shown)
    if manner.as_json:
        click.echo(result_of(session, running.events).model_dump_json(exclude={"events"}))
    else:
        click.echo(session_line(session), err=True)
    return OK


async def _seen(shown: Subscription | None) -> None:
    """Wait until the progress is printed, so that what follows stands below it."""
    if shown is not None:
        await asyncio.to_thread(shown.flush)


def _interrupted(running: Running, *, resumable: bool) -> int:
    """Say how to go on. The answer may have come in the very moment of the interruption."""
    answer = next((event.body.answer for event in running.events if isinstance(event.body, Answered)), None)
    if answer is not None:
        hint = f"the answer is kept; see: atlas session show {running.session_id}"
    elif resumable:
        hint = f"resume with: atlas resume {running.session_id}"
    else:
        hint = "nothing was stored (storage: null)"
    click.echo(f"atlas: interrupted; {hint}", err=True)
    return INTERRUPTED


def _stop_on_sigterm() -> None:
    """SIGTERM ends the session as Ctrl-C does. Where the platform has no such handler it ends the process."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
