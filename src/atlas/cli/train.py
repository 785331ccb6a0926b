"""`atlas train`: from recorded sessions to a better checkpoint."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.text import say

if TYPE_CHECKING:
    from atlas.train.config import Method

Option = Callable[[Callable[..., None]], Callable[..., None]]
SOURCE_HELP = "postgresql://…, a project's folder, atlas://FOLDER, or a JSONL file of `atlas export`."


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """What every command that reads sessions for training takes."""
    options: tuple[Option, ...] = (
        click.option("--from", "source", default=".", show_default=True, help=SOURCE_HELP),
        click.option("--config", type=click.Path(path_type=Path), help="A YAML file of the run."),
        click.option(
            "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One key, as in optimizer.lr=1e-4."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def ledger_of(source: str) -> str | Path | None:
    """The database that keeps the record of runs: the source, else the project's own if it has one."""
    from atlas.runtime import STATE_FOLDER
    from atlas.train.source import URLS

    if source.startswith(URLS):
        return source
    for folder in (Path(source), Path(source) / STATE_FOLDER, Path(STATE_FOLDER)):
        if (folder / "pg").is_dir():
            return folder
    return None


@click.group("train")
def command() -> None:
    """Train student, teacher or judge from recorded sessions."""


def _run_command(method: Method, epilog: str, help_text: str) -> None:
    """Add one method's command."""

    @command.command(method, epilog=epilog, help=help_text)
    @run_options
    @click.option(
        "--output", type=click.Path(path_type=Path), help="The run's folder; a new one below runs/ by default."
    )
    @click.option("--resume", is_flag=True, help="Go on with the run in --output where its last checkpoint stands.")
    @click.option(
        "--dry-run", is_flag=True, help="Read and check everything, print what would be trained, train nothing."
    )
    @click.option("--quiet", is_flag=True, help="Say nothing but errors.")
    def run(source: str, config: Path | None, assignments: tuple[str, ...], output: Path | None, **flags: bool) -> None:
        from atlas.cli.training import run_training
        from atlas.train import Order, load_train_config

        settings = load_train_config(method, config, assignments)
        folder = output or Path("runs") / f"{method}-{settings.role}-{time.strftime('%Y%m%d-%H%M%S')}"
        if flags["resume"] and output is None:
            raise click.UsageError("--resume needs --output.")
        order = Order(settings, source, folder, resume=flags["resume"], ledger=ledger_of(source))
        run_training(order, dry_run=flags["dry_run"], quiet=flags["quiet"])


_run_command(
    "sft",
    "\b\nExamples:\n  atlas train sft --from traces.jsonl --set role=student --set steps=200\n"
    "  atlas train sft --from . --config sft.yaml --output runs/first\n"
    "  atlas train sft --from . --config sft.yaml --output runs/first --resume",
    "Imitate what stood: cross-entropy on the role's own words in approved sessions.",
)


_run_command(
    "gkd",
    "\b\nExamples:\n  atlas train gkd --from traces.jsonl --set teacher_sees=guidance --set lambda=0.5\n"
    "  atlas train gkd --from . --set role=teacher --set model=small --set teacher=pocket-teacher --output runs/small",
    "Distil a teacher into a model on that model's own replies (GKD).",
)


_run_command(
    "grpo",
    "\b\nExamples:\n  atlas train grpo --from . --set role=teacher --set model=pocket-teacher --set loop=atlas.yaml\n"
    "  atlas train grpo --from . --set loop=atlas.yaml --set variant=dr_grpo --set steps=50\n"
    "  atlas train grpo --from traces.jsonl --set rollouts=offline",
    "Reinforce by rewards: a teacher by how much better the frozen student does, or a student by its own.",
)


@command.command(
    "inspect",
    epilog="\b\nExamples:\n  atlas train inspect --from traces.jsonl\n"
    "  atlas train inspect --from traces.jsonl --set role=teacher --show 3\n"
    "  atlas train inspect --from traces.jsonl --tokens --json",
)
@click.option("--method", type=click.Choice(["sft", "gkd", "grpo"]), default="sft", show_default=True)
@run_options
@click.option("--show", type=click.IntRange(min=0), default=1, show_default=True, help="Samples that are printed.")
@click.option("--tokens", is_flag=True, help="Each token of a sample with its id and weight.")
@click.option("--json", "as_json", is_flag=True, help="The numbers as one JSON object, then a sample a line.")
def inspect(method: Method, source: str, config: Path | None, assignments: tuple[str, ...], **shown: int) -> None:
    """Show what a run would learn from: counts, and samples with every learnt token marked."""
    from atlas.train import Codec, checkpoint_folder, choose, encode, load_train_config, need_examples, read_examples
    from atlas.train import inspect as views
    from atlas.train.places import serving_name

    settings = load_train_config(method, config, assignments)
    take = "compare" if method == "grpo" else "imitate"
    read = asyncio.run(read_examples(source, settings.data, role=settings.role, take=take))
    need_examples(read, source)
    chosen = choose(read, settings.data)
    codec = Codec.load(checkpoint_folder(settings.model), name=serving_name(settings.model))
    encoded = encode(chosen.train, codec, max_tokens=settings.max_tokens)
    numbers = views.summary(read, chosen, encoded)
    if shown["as_json"]:
        click.echo(json.dumps(numbers.model_dump()))
        for sample in encoded.samples[: shown["show"]]:
            click.echo(sample.model_dump_json())
        return
    for line in views.summary_text(numbers):
        click.echo(line)
    for sample in encoded.samples[: shown["show"]]:
        click.echo()
        for line in views.sample_text(sample, codec):
            say(line)
        for line in views.token_lines(sample, codec) if shown["tokens"] else ():
            click.echo(line)
