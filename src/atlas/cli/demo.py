"""`atlas demo`: the whole loop on this machine, measured, without a key and without a network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

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
def command(seed: int, tasks: int, as_json: bool) -> None:
    """See the agent learn: the loop beside the student alone, on this machine."""
    asyncio.run(_demo(seed, tasks, as_json))


async def _demo(seed: int, tasks: int, as_json: bool) -> None:
    from atlas.evaluate.demo import Demo, DemoPlan

    demo = Demo(DemoPlan(seed=seed, tasks=tasks, folder=Path.cwd()))
    if as_json:
        async for _ in demo.play():
            pass
        click.echo(demo.receipt().model_dump_json())
        return
    from atlas.cli.demo_screen import DemoScreen

    with DemoScreen(demo) as screen:
        async for point in demo.play():
            screen.show(point)
    screen.print_receipt()
