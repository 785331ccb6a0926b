"""`atlas demo`: the whole loop on this machine, measured, without a key and without a network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.app import INTERRUPTED

if TYPE_CHECKING:
    from atlas.evaluate.demo import Demo
    from atlas.runtime.telemetry import EventBus

EPILOG = """\b
Examples:
  atlas demo
  atlas demo --seed 7          another stream, the same conclusions
  atlas demo --json            the receipt as one JSON object on stdout

\b
A student and a verifying teacher, tiny real models that ship with Atlas, work through a stream of tickets whose rules
changed after the student was trained. The same tickets go to the student alone. One harmful lesson is planted on the
way. Sessions, playbooks and events stay in .atlas/ of the current folder.
"""


@click.command("demo", epilog=EPILOG)
@click.option("--seed", default=0, show_default=True, help="Which stream of tasks.")
@click.option("--tasks", default=240, show_default=True, type=click.IntRange(min=30), help="Length of the stream.")
@click.option("--json", "as_json", is_flag=True, help="Print only the receipt, as one JSON object.")
@click.pass_context
def command(context: click.Context, seed: int, tasks: int, as_json: bool) -> None:
    """See the agent learn: the loop beside the student alone, on this machine."""
    from atlas.evaluate.demo import Demo, DemoPlan
    from atlas.runtime.telemetry import EventBus
    from atlas.schema.errors import StoreUnavailable

    bus = EventBus()
    demo = Demo(DemoPlan(seed=seed, tasks=tasks, folder=Path.cwd()), bus)
    try:
        asyncio.run(_play(demo, None if as_json else bus))
    except KeyboardInterrupt:
        click.echo(f"atlas: stopped after {len(demo.points)} of {tasks} tickets; `atlas demo` starts anew.", err=True)
        context.exit(INTERRUPTED)
    except StoreUnavailable as error:
        raise StoreUnavailable(error.message, "Run the demo in a folder that you may write to.") from error


async def _play(demo: Demo, shown: EventBus | None) -> None:
    """The whole stream, on the screen or, where nothing is shown, with its receipt as JSON."""
    if shown is None:
        async for _ in demo.play():
            pass
        click.echo(demo.receipt().model_dump_json())
        return
    from atlas.cli.demo_screen import DemoScreen

    with DemoScreen(demo, shown) as screen:
        async for point in demo.play():
            screen.show(point)
    screen.print_receipt()
