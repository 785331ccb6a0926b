"""One session in the foreground: its answer on stdout, its progress on stderr, Ctrl-C that leaves it resumable."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from atlas.cli.app import INTERRUPTED, OK, code_of, complain
from atlas.cli.text import say, session_line
from atlas.runtime import STATE_FOLDER, Running, Runtime, open_runtime, result_of
from atlas.runtime.telemetry import EVERYWHERE, ConsoleTelemetryStreamer, EventBus, Subscription, json_line
from atlas.schema.errors import AtlasError
from atlas.schema.events import Answered, Failure
from atlas.store import safety_of
from atlas.viewer import running_at

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
    out: TextIO = field(default_factory=lambda: sys.stdout)
    """Where the answer goes; what the user's own code prints goes to stderr."""

    def attach(self, bus: EventBus) -> Subscription | None:
        """Show the bus's events in this manner."""
        if self.as_json:
            return ConsoleTelemetryStreamer(self.out, mode="json").attach(bus) if self.stream else None
        stream = sys.stderr.isatty() if self.stream is None else self.stream
        return ConsoleTelemetryStreamer().attach(bus) if stream else None

    def failed(self, error: AtlasError, clean: Callable[[str], str], session_id: str | None = None) -> int:
        """Tell an error without the secrets that the user's code or a server put into it; gives the exit code."""
        if self.as_json:
            failure = Failure.of(error)
            told = failure.model_copy(update={"message": clean(failure.message)}).model_dump()
            line = json.dumps({"session_id": session_id, "status": "failed", "failure": told})
            click.echo(line, file=self.out)
        complain(error, clean)
        return code_of(error)


def play(config: AtlasConfig, folder: Path, begin: Begin, manner: Manner) -> int:
    """Run one session to its end; gives the exit code."""

    def clean(text: str) -> str:
        return safety_of(config.runtime_safety, secrets=config.secret_variables).boundary.text(text)

    try:
        with redirect_stdout(sys.stderr):
            return asyncio.run(_play(config, folder, begin, manner, clean))
    except AtlasError as error:
        return manner.failed(error, clean)


async def _play(config: AtlasConfig, folder: Path, begin: Begin, manner: Manner, clean: Callable[[str], str]) -> int:
    bus = EventBus(parent=EVERYWHERE)
    shown = manner.attach(bus)
    _stop_on_sigterm()
    try:
        async with await open_runtime(config, folder=folder, bus=bus) as runtime:
            session = _Foreground(await begin(runtime), manner, shown, link=_Link(folder, config.storage is not None))
            return await session.follow(clean)
    finally:
        await bus.aclose()


@dataclass(frozen=True, slots=True)
class _Link:
    """Where a session can be looked at."""

    folder: Path
    """The project's."""
    stored: bool
    """Whether anything is kept."""

    def of(self, session_id: str) -> str:
        """The page of a viewer that runs, else the command that starts one; empty where nothing is kept."""
        origin = running_at(self.folder / STATE_FOLDER) if self.stored else None
        command = f"view: atlas view {session_id}" if self.stored else ""
        return f"view: {origin}/sessions/{session_id}" if origin else command


class _Foreground:
    """A session that a person waits for."""

    def __init__(self, running: Running, manner: Manner, shown: Subscription | None, *, link: _Link) -> None:
        self._running = running
        self._manner = manner
        self._shown = shown
        self._link = link

    async def follow(self, clean: Callable[[str], str]) -> int:
        """Tell the answer, then what became of it; gives the exit code. `clean` takes the secrets out of an error."""
        try:
            return await self._tell()
        except asyncio.CancelledError:
            await self._running.interrupt()
            await self._seen()
            return self._interrupted()
        except AtlasError as error:
            await self._seen()
            return self._failed(error, clean)

    async def _tell(self) -> int:
        session = await self._running.answered()
        if not self._manner.as_json:
            await self._seen()
            say(session.answer or "", self._manner.out)
        session = await self._running.settled()
        await self._seen()
        if self._manner.as_json:
            told = json_line(result_of(session, self._running.events), without=frozenset({"events"}))
            click.echo(told, file=self._manner.out)
        else:
            link = self._link.of(session.id)
            click.echo("\n".join([session_line(session), *([link] if link else [])]), err=True)
        return OK

    def _failed(self, error: AtlasError, clean: Callable[[str], str]) -> int:
        session_id = self._running.session_id
        code = self._manner.failed(error, clean, session_id)
        if self._link.stored:
            click.echo(f"atlas: session {session_id} failed; see: atlas session show {session_id}", err=True)
        return code

    def _interrupted(self) -> int:
        """Say how to go on. The answer may have come in the very moment of the interruption."""
        session_id = self._running.session_id
        if not self._link.stored:
            hint = "nothing was stored (storage: null)"
        elif any(isinstance(event.body, Answered) for event in self._running.events):
            hint = f"the answer is kept; see: atlas session show {session_id}"
        else:
            hint = f"resume with: atlas resume {session_id}"
        click.echo(f"atlas: interrupted; {hint}", err=True)
        return INTERRUPTED

    async def _seen(self) -> None:
        """Wait until the progress is printed, so that what follows stands below it."""
        if self._shown is not None:
            await asyncio.to_thread(self._shown.flush)


def _stop_on_sigterm() -> None:
    """SIGTERM ends the session as Ctrl-C does. Where the platform has no such handler it ends the process."""
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
