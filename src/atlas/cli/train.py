"""`atlas train`: from recorded sessions to a better checkpoint."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atlas.cli.text import columns, say

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


EXAMPLES = """\b
Examples:
  atlas train inspect --from traces.jsonl
  atlas train sft --from traces.jsonl --set steps=200
  atlas train --config-name sft.yaml --eval-ratio 0.1 --override steps=200 --dry-run
"""


@click.group("train", invoke_without_command=True, epilog=EXAMPLES)
@click.option("--database-url", "source", default=".", help="Without a command: " + SOURCE_HELP)
@click.option("--config-name", help="Without a command: a YAML file of the run, `.yaml` may be left out.")
@click.option("--trainer-config", type=click.Choice(["sft", "gkd", "grpo"]), default="sft", help="The method.")
@click.option("--model-config", help="The checkpoint to start from.")
@click.option("--data-config", type=click.Path(path_type=Path), help="A YAML file with keys of `data`.")
@click.option("--learning-key", help="Only this key.")
@click.option("--min-reward", help="Smallest reward of a session.")
@click.option("--limit", help="The newest so many sessions.")
@click.option("--eval-ratio", help="Share of the questions that is held out.")
@click.option("--max-samples", help="Examples at most.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--wandb-project", help="Send metrics to this project of Weights & Biases.")
@click.option("--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Any key of the run.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, train nothing.")
@click.pass_context
def command(context: click.Context, source: str, overrides: tuple[str, ...], dry_run: bool, **given: Any) -> None:
    """Train student, teacher or judge from recorded sessions.

    The commands below say all of it; without one, the options here start a run.
    """
    if context.invoked_subcommand is not None:
        return
    if not any(given[name] for name in ("config_name", "model_config")) and not overrides and not dry_run:
        click.echo(context.get_help())
        return
    from atlas.cli.training import run_training
    from atlas.train import Order, load_train_config

    settings = load_train_config(given["trainer_config"], _named(given["config_name"]), _assignments(given, overrides))
    folder = given["output_dir"] or _new_folder(given["trainer_config"], settings.role)
    run_training(Order(settings, source, folder, ledger=ledger_of(source)), dry_run=dry_run, quiet=False)


KEYS = {
    "model_config": "model",
    "learning_key": "data.learning_key",
    "min_reward": "data.min_reward",
    "limit": "data.limit",
    "eval_ratio": "data.eval_ratio",
    "max_samples": "data.max_examples",
}
"""Options and the keys they set."""


def _named(name: str | None) -> Path | None:
    """The file that `--config-name` means."""
    if name is None:
        return None
    return Path(name) if Path(name).suffix else Path(name + ".yaml")


def _assignments(given: dict[str, Any], overrides: tuple[str, ...]) -> list[str]:
    """The options as assignments, those of `--override` last."""
    made = [f"{key}={given[option]}" for option, key in KEYS.items() if given[option] is not None]
    if given["data_config"] is not None:
        made.append(f"data={{{_flow(given['data_config'])}}}")
    if given["wandb_project"] is not None:
        made += ["tracker=wandb", f"project={given['wandb_project']}"]
    made.sort(key=lambda assignment: assignment.count(".", 0, assignment.index("=")))  # Blocks before their keys.
    return [*made, *overrides]


def _flow(path: Path) -> str:
    """A file of keys as the inside of a YAML mapping.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    from atlas.config.yaml_text import read_yaml
    from atlas.schema.errors import ConfigError

    try:
        read = read_yaml(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}).", "Give a YAML file.") from error
    if read.problems or not isinstance(read.value, dict):
        raise ConfigError(f"{path} is no mapping of keys.", "Write keys of `data`, as in `min_reward: 0.5`.")
    return json.dumps(read.value)[1:-1]


def _new_folder(method: str, role: str) -> Path:
    return Path("runs") / f"{method}-{role}-{time.strftime('%Y%m%d-%H%M%S')}"


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
        folder = output or _new_folder(method, settings.role)
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


@command.command(
    "eval",
    epilog="\b\nExamples:\n  atlas train eval runs/sft/final --role teacher --from traces.jsonl\n"
    "  atlas train eval runs/grpo/final --role teacher --loop atlas.yaml --lane paired --tasks 200",
)
@click.argument("checkpoint")
@click.option("--role", type=click.Choice(["student", "teacher"]), default="student", show_default=True)
@run_options
@click.option("--loop", type=click.Path(path_type=Path), help="Play held-out tasks through this loop, paired.")
@click.option("--lane", type=click.Choice(["auto", "paired", "coach"]), help="The lane; the loop chooses by default.")
@click.option("--tasks", type=click.IntRange(min=1), default=100, show_default=True, help="Tasks at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def evaluate(
    checkpoint: str, *, role: Any, source: str, config: Path | None, assignments: tuple[str, ...], **asked: Any
) -> None:
    """Measure CHECKPOINT on questions that were held out of training, against the model before.

    With --loop: success, tokens and time of the loop with each, paired. Without: the loss of recorded replies.
    """
    from atlas.cli.training import need_torch
    from atlas.config import load_config
    from atlas.train import Order, checkpoint_folder, load_train_config, prepare
    from atlas.train.evaluation import compare, comparison_table, play_tasks, recorded_loss, seated

    named = load_train_config("sft", config, (*assignments, f"role={role}"))
    prepared = asyncio.run(prepare(Order(named, source, Path("eval"))))
    if asked["loop"] is None:
        need_torch()
        after = named.model_copy(update={"model": checkpoint})
        losses = [recorded_loss(asyncio.run(prepare(Order(one, source, Path("eval"))))) for one in (named, after)]
        told = {"examples": len(prepared.chosen.evaluation), "before": losses[0], "after": losses[1]}
        text = "held-out cross-entropy per token: {before:.4f} before, {after:.4f} after, {examples} examples"
        return click.echo(json.dumps(told) if asked["as_json"] else text.format(**told))
    loop, folder = load_config(asked["loop"]), asked["loop"].parent
    tasks = prepared.held_out_tasks[: asked["tasks"]]
    arms = [
        asyncio.run(play_tasks(seated(loop, role, str(model.resolve())), folder, tasks, lane=asked["lane"]))
        for model in (prepared.folder, checkpoint_folder(checkpoint))
    ]
    found = compare(*arms)
    click.echo(found.model_dump_json() if asked["as_json"] else comparison_table(found))
    return None


@command.command("list", epilog="\b\nExamples:\n  atlas train list\n  atlas train list --from postgresql://… --json")
@click.option("--from", "source", default=".", show_default=True, help="A database, or a project's folder.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Runs at most, the newest.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
def list_runs(source: str, *, limit: int, as_json: bool) -> None:
    """List the training runs that a database has on record."""
    from atlas.schema.errors import ConfigError

    where = ledger_of(source)
    if where is None:
        raise ConfigError(f"There is no database in {source}.", "Give --from postgresql://… or a project's folder.")
    runs = asyncio.run(_runs(where, limit))
    if as_json:
        for run in runs:
            click.echo(json.dumps(run))
        return
    table = [("RUN", "STARTED", "METHOD", "ROLE", "STATUS", "EXAMPLES", "SESSIONS", "LOSS", "FROM")]
    for run in runs:
        counts = (f"{run['examples']:,}", f"{len(run['sessions']):,}")
        loss = f"{run['metrics']['loss']:.4f}" if "loss" in run["metrics"] else "-"
        started = run["started_at"][:16].replace("T", " ")
        table.append((run["id"], started, run["method"], run["role"], run["status"], *counts, loss, run["base"]))
    for line in columns(table):
        click.echo(line)


async def _runs(where: str | Path, limit: int) -> list[dict[str, Any]]:
    from atlas.store.ledger import open_ledger

    async with open_ledger(where) as ledger:
        return await ledger.runs(limit)
