"""What a person sees of the demo: the stream while it runs, the receipt at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from atlas.runtime.telemetry.words import money, said
from atlas.schema import Usage

if TYPE_CHECKING:
    from types import TracebackType

    from atlas.evaluate import Point, Receipt
    from atlas.evaluate.demo import Demo
    from atlas.evaluate.receipt import SuccessRate
    from atlas.runtime.telemetry import EventBus
    from atlas.schema import Event

WINDOW = 20
"""Tasks in one point of the learning curve."""
RECENT = 6
"""Sessions shown while the stream runs."""
BARS = " ▁▂▃▄▅▆▇█"


class DemoScreen:
    """A progress bar, the last sessions and the two learning curves; plain lines where there is no terminal."""

    def __init__(self, demo: Demo, bus: EventBus) -> None:
        self._demo = demo
        self._step = ""
        self._heard = bus.subscribe(self._hear)
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        )
        self._bar = self._progress.add_task("tickets", total=len(demo.tasks))
        self._recent: deque[Point] = deque(maxlen=RECENT)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._picture)

    def __enter__(self) -> DemoScreen:
        self._console.print(
            "Atlas demo: a student whose tools changed after it was trained, a verifying teacher, what they learn.\n"
            f"{len(self._demo.tasks)} tickets, each played by the loop and by the student alone. No key, no network.\n"
        )
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._heard.close()

    def _hear(self, event: Event) -> None:
        self._step = said(event.body)

    def _picture(self) -> Group:
        step = Text(f"  {self._step}", style="dim", no_wrap=True, overflow="ellipsis")
        return Group(self._progress, step, _recent_table(self._recent), curves(self._demo.points))

    def show(self, point: Point) -> None:
        """One more task."""
        self._recent.append(point)
        self._progress.update(self._bar, completed=point.index + 1)
        if not self._console.is_terminal and (point.index + 1) % WINDOW == 0:
            self._console.print(plain_line(self._demo.points))

    def print_receipt(self) -> None:
        """The receipt, what was learnt, and where to look next."""
        receipt = self._demo.receipt()
        self._console.print(curves(self._demo.points))
        self._console.print(receipt_table(receipt))
        self._console.print(_learnt_table(self._demo))
        self._console.print(_next_steps(self._demo))


def plain_line(points: Sequence[Point]) -> str:
    """The last window of the stream in one line."""
    last = points[-WINDOW:]
    n = len(last)
    return (
        f"{len(points):4d} tickets  success with loop {sum(p.loop for p in last) / n:.2f}  "
        f"alone {sum(p.alone for p in last) / n:.2f}  tokens per ticket {sum(p.tokens for p in last) / n:.0f}  "
        f"auto {sum(p.lane == 'auto' for p in last)} of {n}"
    )


def curves(points: Sequence[Point]) -> Text:
    """Success with the loop and without, and tokens: a bar for each full window, and the number of the last one."""
    full = max(len(points) - WINDOW + 1, 1)
    windows = [points[at : at + WINDOW] for at in range(0, full, WINDOW) if points]
    loop = [sum(p.loop for p in part) / len(part) for part in windows]
    first = [sum(p.first_try for p in part) / len(part) for part in windows]
    alone = [sum(p.alone for p in part) / len(part) for part in windows]
    tokens = [sum(p.tokens for p in part) / len(part) for part in windows]
    most = max(tokens, default=1.0) or 1.0
    text = Text("\n")
    for label, values, scale, style in (
        ("success with loop", loop, 1.0, "green"),
        ("first try, no help", first, 1.0, "green"),
        ("success alone", alone, 1.0, "yellow"),
        ("tokens per ticket", tokens, most, "cyan"),
    ):
        last = values[-1] if values else 0.0
        bars = "".join(BARS[round(value / scale * 8)] for value in values)
        text.append(f"  {label:<20}")
        text.append(bars, style)
        text.append(f"  {last:.2f}\n" if scale == 1.0 else f"  {last:.0f}\n")
    return text


def receipt_table(receipt: Receipt) -> Table:
    """The receipt as a person reads it."""
    table = Table(title=f"Receipt: seed {receipt.seed}, {receipt.tasks} tickets, {receipt.seconds:.0f} s", box=None)
    table.add_column("measured in this run")
    table.add_column("with the loop", justify="right")
    table.add_column("student alone", justify="right")
    loop, alone = receipt.success_by_third["with_loop"], receipt.success_by_third["student_alone"]
    first = receipt.success_by_third["first_try"]
    thirds = ("first", "middle", "last")
    for at, name in enumerate(thirds):
        table.add_row(f"success, {name} third", _rate(loop[at]), _rate(alone[at]))
    for at, name in enumerate(thirds):
        table.add_row(f"first try before any help, {name} third", _rate(first[at]), "")
    table.add_row("success, all", _rate(receipt.success["with_loop"]), _rate(receipt.success["student_alone"]))
    table.add_row("gain, paired (last third)", _rate(receipt.gain_last_third, sign=True), "")
    better, worse = receipt.discordant
    table.add_row("only one of them right", str(better), f"{worse}   (p = {receipt.p_value:.1g})")
    table.add_row("at least as good as alone", _rate(receipt.non_degradation), "")
    tokens = receipt.tokens_per_task
    ratio = tokens.last_third / tokens.first_third
    table.add_row(
        "tokens per ticket, all roles", f"{tokens.first_third:.0f} -> {tokens.last_third:.0f}", f"x {ratio:.2f}"
    )
    table.add_row("tokens by role", ", ".join(f"{role} {n}" for role, n in receipt.tokens_by_role.items()), "")
    table.add_row("supervision tax", f"{receipt.supervision_tax:.2f}", "tokens per student token")
    for name, lanes in receipt.lanes.items():
        table.add_row(f"lanes, {name.replace('_', ' ')}", ", ".join(f"{lane} {n}" for lane, n in lanes.items()), "")
    harmful = receipt.harmful_entry
    caught = f"caught; matching sessions until then: {harmful.after_sessions}" if harmful.caught else "not caught"
    table.add_row("planted harmful lesson", caught, "")
    return table


def _rate(rate: SuccessRate, *, sign: bool = False) -> str:
    form = "+.2f" if sign else ".2f"
    return f"{rate.mean:{form}} [{rate.ci[0]:{form}}, {rate.ci[1]:{form}}] n={rate.n}"


def _recent_table(points: Sequence[Point]) -> Table:
    table = Table(box=None)
    for name in ("ticket", "lane", "tries", "tokens", "cost", "verdict", "alone"):
        table.add_column(name, justify="right")
    for point in points:
        table.add_row(
            str(point.index + 1),
            point.lane,
            str(point.attempts),
            str(point.tokens),
            money(sum((role.usage for role in point.usage), Usage()).cost_usd).strip() or "-",
            "right" if point.loop >= 0.5 else "wrong",
            "right" if point.alone >= 0.5 else "wrong",
        )
    return table


def _learnt_table(demo: Demo) -> Table:
    table = Table(title="What was learnt", box=None)
    for name in ("cue", "action", "state", "with", "without"):
        table.add_column(name)
    order = {"active": 0, "trial": 1, "candidate": 2, "quarantined": 3, "retired": 4}
    for entry in sorted(demo.learnt, key=lambda entry: (order[entry.state], -entry.evidence.n_with))[:16]:
        seen = entry.evidence
        table.add_row(
            entry.cue.text,
            entry.action,
            entry.state,
            f"{seen.successes_with:.0f}/{seen.n_with}",
            f"{seen.successes_without:.0f}/{seen.n_without}",
        )
    return table


def _next_steps(demo: Demo) -> str:
    last = demo.points[-1].session_id
    return (
        "\nLook next:\n"
        f"  atlas session show {last}\n"
        "  atlas session list\n"
        f"  atlas playbook show {demo.victim.key} --tenant {demo.tenant}\n"
        "  atlas view\n"
    )
