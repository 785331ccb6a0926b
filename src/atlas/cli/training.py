"""A training run as a person sees it: what it is about to learn, progress with the time left, what came out."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from atlas.train import Manifest, Order
    from atlas.train.engine import StepLog

MISSING = "Training needs torch, which is not installed."
INSTALL = "Install it with `pip install 'atlas-loop[train]'`."


def run_training(order: Order, *, dry_run: bool, quiet: bool) -> None:
    """Do a run, or say what it would do.

    Raises:
        ConfigError: something the run needs is missing or wrong.
        TrainError: it failed.
    """
    if dry_run:
        return _tell_plan(order)
    need_torch()
    progress = Progress(order.config.steps, shown=not quiet)
    manifest = asyncio.run(_train(order, progress))
    progress.end()
    if not quiet:
        told = ", ".join(f"{name} {value:.4g}" for name, value in sorted(manifest.metrics.items()))
        click.echo(
            f"Trained on {manifest.examples:,} examples of {len(manifest.sessions):,} sessions: {told}.", err=True
        )
        click.echo(str(order.output / (manifest.checkpoint or "")))
    return None


def need_torch() -> None:
    """Say in one line what is missing.

    Raises:
        ConfigError: torch is not installed.
    """
    from importlib.util import find_spec

    from atlas.schema.errors import ConfigError

    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise ConfigError(MISSING, INSTALL)


async def _train(order: Order, progress: Progress) -> Manifest:
    from atlas.train import train

    return await train(order, on_step=progress.step)


def _tell_plan(order: Order) -> None:
    from atlas.train import prepare, summary_text

    prepared = asyncio.run(prepare(order))
    click.echo(json.dumps(order.config.model_dump(mode="json", by_alias=True), indent=1))
    for line in summary_text(prepared.summary):
        click.echo(line)


class Progress:
    """One line on a terminal that is written over; a line now and then elsewhere."""

    def __init__(self, steps: int, *, shown: bool) -> None:
        self._steps = steps
        self._shown = shown
        self._live = shown and sys.stderr.isatty()
        self._times: list[float] = []
        self._told = 0.0

    def step(self, told: StepLog) -> None:
        """Tell a step and how long the rest will take."""
        self._times = [*self._times[-19:], told.seconds]
        every = 0.2 if self._live else 10.0
        last = told.step == self._steps
        if not self._shown or (time.monotonic() - self._told < every and not last):
            return
        self._told = time.monotonic()
        left = (self._steps - told.step) * sum(self._times) / len(self._times)
        extra = "".join(f", {name} {told.metrics[name]:.3f}" for name in ("reward", "kl") if name in told.metrics)
        line = f"step {told.step} of {self._steps}, loss {told.loss:.4f}{extra}, {_clock(left)} left"
        click.echo(f"\r{line}\x1b[K" if self._live else line, nl=not self._live, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            click.echo("", err=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
