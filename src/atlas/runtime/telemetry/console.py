"""Progress on a console: a live table on a terminal, one line an event elsewhere, or JSON lines."""

from __future__ import annotations

import atexit
import sys
import threading
from typing import TYPE_CHECKING, Literal, TextIO

from atlas.runtime.telemetry.board import Board, SessionState
from atlas.runtime.telemetry.bus import EventBus, Subscription
from atlas.runtime.telemetry.words import json_line, line, money, safe, said, short_id, tokens
from atlas.schema import Event, now
from atlas.schema.events import Finished, LearningFailed, Learnt, Rewarded

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

Mode = Literal["auto", "live", "lines", "json"]

REFRESH_PER_SECOND = 5
"""How often the live table is drawn; events in between cost nothing."""
SPARE_LINES = 4
"""Lines of the terminal that the live table leaves free."""


class ConsoleTelemetryStreamer:
    """Shows sessions while they run. A subscriber of the event bus: `streamer.attach(bus)`."""

    def __init__(self, output: TextIO | None = None, *, mode: Mode = "auto") -> None:
        """Writes to `output` (stderr by default). `auto` is live on a terminal, lines elsewhere."""
        self._output = output or sys.stderr
        self._mode: Mode = ("live" if self._output.isatty() else "lines") if mode == "auto" else mode
        self._screen = _Screen(self._output) if self._mode == "live" else None

    def attach(self, bus: EventBus) -> Subscription:
        """Show every event of this bus from now on, until the subscription or the bus is closed."""
        return bus.subscribe(self, on_end=self.close)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._screen is not None:
            self._screen.show(event)
        elif self._mode == "json":
            self._write(json_line(event))
        else:
            self._write(line(event))

    def close(self) -> None:
        """Leave the terminal as it was; calling it twice is harmless."""
        if self._screen is not None:
            self._screen.close()

    def _write(self, text: str) -> None:
        encoding = self._output.encoding or "utf-8"
        self._output.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._output.flush()


class _Screen:
    """The live table: one row for each running session, one lasting line for each finished one.

    It is on the terminal only while a session runs, so that an answer can be printed below the lasting lines.
    """

    def __init__(self, output: TextIO) -> None:
        from rich.console import Console

        self._console: Console = Console(file=output, force_terminal=True)
        self._board = Board()
        self._lock = threading.Lock()
        self._live: Live | None = None

    def show(self, event: Event) -> None:
        """Take in one event; what is over is printed above the table."""
        with self._lock:
            state = self._board.apply(event)
            if state is None:
                lasting = _afterwards(event)
            else:
                lasting = self._over(state) if isinstance(event.body, Finished) else None
        if self._board.sessions:
            self._start()
        if lasting is not None:
            self._console.print(lasting, markup=False, highlight=False, soft_wrap=True)
        if not self._board.sessions:
            self.close()

    def close(self) -> None:
        """Take the table off the terminal."""
        live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self.close)
            live.stop()

    def _over(self, state: SessionState) -> str:
        self._board.take_off(state)
        seconds = (now() - state.started).total_seconds()
        verdict = f" {state.verdict}" if state.verdict else ""
        return f"{state.status} {state.id} {state.lane or '-'}{verdict} {tokens(state.usage)} {seconds:.1f} s"

    def _start(self) -> None:
        if self._live is not None:
            return
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        atexit.register(self.close)  # rich hides the cursor; it must come back whatever happens
        self._live.start()

    def _table(self) -> Table:
        with self._lock:
            return board_table(self._board, rows=max(1, self._console.height - SPARE_LINES))


def board_table(board: Board, *, rows: int) -> Table:
    """The running sessions, oldest first, and a line of sums. Rows that do not fit are counted."""
    from rich.table import Table
    from rich.text import Text

    running = list(board.sessions.values())
    usage = sum((state.usage for state in running), board.usage)
    hidden = f", {len(running) - rows} not shown" if len(running) > rows else ""
    title = f"{len(running)} running{hidden} · {board.done} done · {board.failed} failed · {usage.tokens:,} tok"
    table = Table(box=None, pad_edge=False, title=title + money(usage.cost_usd), title_justify="left", expand=True)
    for name in ("session", "lane", "step", "try", "now", "tokens", "verdict", "s"):
        table.add_column(name, no_wrap=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis", ratio=1)
    for state in running[:rows]:
        step = f"{state.step}/{state.steps}" if state.steps else "-"
        seconds = f"{(now() - state.started).total_seconds():.0f}"
        row = (short_id(state.id), state.lane or "-", step, str(state.attempt), state.doing, tokens(state.usage))
        table.add_row(*map(Text, (*row, state.verdict or "-", seconds, safe(state.prompt, 80))))
    return table


def _afterwards(event: Event) -> str | None:
    """Judging and learning go on behind the answer; their outcome is one lasting line."""
    match event.body:
        case Rewarded() | Learnt() | LearningFailed():
            return f"  {short_id(event.session_id)} {said(event.body)}"
        case _:
            return None
