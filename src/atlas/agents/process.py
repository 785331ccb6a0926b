"""An agent that is a program: it reads its prompt from stdin or an argument, and what it prints is its answer."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

from atlas.agents.answers import Unusable, as_text, output_of, recorded
from atlas.agents.base import Abilities, Output, Turn
from atlas.agents.slots import fill, injects
from atlas.config.agent import ProcessAgentConfig
from atlas.models import Caller, OnText
from atlas.models.text import one_line
from atlas.schema.errors import AgentError, ConfigError

MAX_ANSWER_BYTES = 16 * 2**20
"""No honest answer is larger; the program is ended there."""

_TAIL_BYTES = 4096
_POLL_S = 0.05
_TERM_S = 2.0
"""Between asking a program to end and ending it."""


class ProcessAgent:
    """Starts the program anew for every turn, in a process group of its own that does not outlive the turn."""

    def __init__(self, config: ProcessAgentConfig, *, folder: Path) -> None:
        """Nothing is started yet; it will run in `folder`.

        Raises:
            ConfigError: this platform has no process groups.
        """
        if os.name != "posix":
            raise ConfigError("agent.type process needs Linux or macOS.", "Use agent.type http_api instead.")
        self._config = config
        self._folder = folder

    @property
    def name(self) -> str:
        """`process:` and the program's name."""
        return f"process:{Path(self._config.command[0]).name}"

    @property
    def plans(self) -> bool:
        """A program answers; it is not asked for a plan."""
        return False

    @property
    def abilities(self) -> Abilities:
        """The result; playbook and guidance too, where its input or its arguments have a place for them."""
        return Abilities(injects=injects((*self._config.command, self._config.input or "")))

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """What it prints. Its environment is Atlas's own, with `ATLAS_SESSION_ID`.

        Raises:
            AgentError: it cannot be started, prints nothing, too much, ends with another code than 0, or is too slow.
            ModelTimeout: the session's time is spent.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        timeout_s = min(caller.remaining_s(turn.timeout_s), self._config.timeout_seconds)
        process = await self._start(turn, caller)
        try:
            async with asyncio.timeout(timeout_s):
                text, errors = await self._spoken(process, turn, on_text)
        except TimeoutError:
            raise AgentError(
                f"{self.name} did not end within {timeout_s:g} s.", "Raise agent.timeout_seconds."
            ) from None
        finally:
            await _end(process)
        if process.returncode != 0:
            said = one_line(errors.decode("utf-8", "replace")) or "it said nothing on stderr"
            raise AgentError(f"{self.name} ended with code {process.returncode}: {said}", "Run it by hand.")
        try:
            return output_of(turn, as_text(text.strip()))
        except Unusable:
            raise AgentError(f"{self.name} printed no answer.", "Print the answer to stdout.") from None

    async def close(self) -> None:
        """Nothing to give back: no program outlives its turn."""

    async def _start(self, turn: Turn, caller: Caller) -> Process:
        command = [part.replace("\0", "") for part in fill(self._config.command, turn)]
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL if self._config.input is None else PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self._folder,
                env={**os.environ, **self._config.env, "ATLAS_SESSION_ID": caller.trace.session_id},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise AgentError(f"{self.name} cannot be started: {one_line(why)}.", "Correct agent.command.") from None

    async def _spoken(self, process: Process, turn: Turn, on_text: OnText | None) -> tuple[str, bytes]:
        """Its stdout as text and the end of its stderr, once it has ended."""
        assert process.stdout is not None
        assert process.stderr is not None
        feeding = asyncio.ensure_future(self._feed(process, turn))
        listening = asyncio.ensure_future(_tail(process.stderr))
        reaping = asyncio.ensure_future(_reap(process))
        try:
            text = await self._heard(process.stdout, on_text)
            await asyncio.gather(feeding, process.wait())
            return text, await listening
        finally:
            feeding.cancel()
            listening.cancel()
            reaping.cancel()

    async def _feed(self, process: Process, turn: Turn) -> None:
        if process.stdin is None:
            return
        with suppress(ConnectionError):  # A program may answer without having read all of its input.
            process.stdin.write(str(fill(self._config.input, turn)).encode("utf-8", "replace"))
            await process.stdin.drain()
        process.stdin.close()

    async def _heard(self, stdout: asyncio.StreamReader, on_text: OnText | None) -> str:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []
        size = 0
        while raw := await stdout.read(65_536):
            size += len(raw)
            if size > MAX_ANSWER_BYTES:
                raise AgentError(f"{self.name} printed more than {MAX_ANSWER_BYTES // 2**20} MiB.", "Print less.")
            pieces.append(decoder.decode(raw))
            if on_text and pieces[-1]:
                await on_text(pieces[-1])
        return "".join((*pieces, decoder.decode(b"", final=True)))


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The last bytes of a stream, whatever its length."""
    tail = b""
    while raw := await stream.read(65_536):
        tail = (tail + raw)[-_TAIL_BYTES:]
    return tail


async def _reap(process: Process) -> None:
    """Once the program has ended, end what it left behind, which would hold its pipes open."""
    while process.returncode is None:  # noqa: ASYNC110 - in newer Pythons wait() waits for the pipes as well
        await asyncio.sleep(_POLL_S)
    _signal(process.pid, signal.SIGKILL)


async def _end(process: Process) -> None:
    """End the program and everything it left in its group, politely first."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_TERM_S):
                await process.wait()
    _signal(process.pid, signal.SIGKILL)
    for stream in filter(None, (process.stdout, process.stderr)):
        with suppress(TimeoutError):  # what was not read would keep the pipe open, and so would a child that got away
            async with asyncio.timeout(_TERM_S):
                while await stream.read(65_536):
                    pass
    await process.wait()


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
