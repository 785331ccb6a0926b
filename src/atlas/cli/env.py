"""`atlas env`: find the agent of a project, or begin with a template."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import click
from typing_extensions import Unpack

from atlas.cli.project import CONFIG_NAME, Project, read_environment

if TYPE_CHECKING:
    from atlas.discovery import Discovered

INIT = """\b
Examples:
  atlas env init                                     read the sources, then ask before running anything
  atlas env init --no-run                            read the sources only
  atlas env init --validate                          import what was found, in a child process, without asking
  atlas env init --agent-fn app/bot.py:make_agent    this one, whatever else there is
  atlas env init --env-fn world:Door --env-arg size=3 --task "Get in."

\b
What is run, is run in a child process: without network and without your keys (--env hands one over), within --timeout,
and nothing that it starts stays. It can read files as you can.
"""
SCAFFOLD = """\b
Examples:
  atlas env scaffold --template function
  atlas env scaffold --template environment --path my-project
"""
TEMPLATES = ("function", "steps", "environment", "program")

FOLDER = click.option(
    "--path", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The project's folder."
)


class Options(TypedDict):
    """The options of `atlas env init`."""

    task: str | None
    env_fn: str | None
    agent_fn: str | None
    env_arg: tuple[str, ...]
    env_config: Path | None
    scaffold_config_full: bool
    no_run: bool
    validate: bool
    timeout: float
    variables: tuple[str, ...]
    force: bool
    as_json: bool


@click.group("env")
def command() -> None:
    """Find the agent in a project, or begin with a template."""


@command.command("init", epilog=INIT)
@FOLDER
@click.option("--task", help="A task to keep: `atlas run` then needs none.")
@click.option("--env-fn", metavar="FILE:NAME", help="The environment's class or factory.")
@click.option("--agent-fn", metavar="FILE:NAME", help="The agent: a function, a class, a factory or an object.")
@click.option("--env-arg", multiple=True, metavar="NAME=VALUE", help="An argument of the environment, JSON or text.")
@click.option(
    "--env-config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="All of them, as YAML."
)
@click.option("--scaffold-config-full", is_flag=True, help="Write every key of the configuration with its default.")
@click.option("--no-run", is_flag=True, help="Run nothing, and do not ask.")
@click.option("--validate", is_flag=True, help="Run what was found, and do not ask; exit with 1 where it fails.")
@click.option("--timeout", type=click.FloatRange(1, 600), default=60.0, show_default=True, help="Seconds of that run.")
@click.option("--env", "variables", multiple=True, metavar="KEY=VALUE", help="A variable that the run sees.")
@click.option("--force", is_flag=True, help="Write over generated files that were edited.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@click.pass_context
def init(context: click.Context, path: Path, **given: Unpack[Options]) -> None:
    """Find the agent and write a configuration that runs it, below .atlas/."""
    from atlas.cli.discovering import Wishes, discover, save

    if given["no_run"] and given["validate"]:
        raise click.UsageError("--no-run and --validate exclude each other.")
    root = path.resolve()
    variables = dict(_pair(each, "--env") for each in given["variables"])
    read_environment(root, given["variables"])
    wishes = Wishes(
        agent=given["agent_fn"],
        environment=given["env_fn"],
        arguments=_arguments(given["env_arg"], given["env_config"]),
        task=given["task"],
        full=given["scaffold_config_full"],
        force=given["force"],
    )
    discovered = discover(root, wishes)
    if _consents(discovered, given):
        discovered = discovered.looked_at(root, timeout_s=given["timeout"], variables=variables)
    save(root, discovered.record)
    asyncio.run(_record(root, discovered.record))
    if given["as_json"]:
        click.echo(discovered.record.model_dump_json(indent=2))
    else:
        _tell(root, discovered.record)
    failed = any(chosen.look is not None and not chosen.look.ok for chosen in discovered.record.chosen)
    context.exit(1 if failed and given["validate"] else 0)


@command.command("scaffold", epilog=SCAFFOLD)
@FOLDER
@click.option(
    "--template", type=click.Choice(TEMPLATES), default="function", show_default=True, help="What to begin with."
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
def scaffold(path: Path, template: str, force: bool) -> None:
    """Write a small agent and its atlas.yaml to begin with."""
    from importlib.resources import files

    from atlas.schema.errors import DiscoveryError

    source = files("atlas.discovery").joinpath("templates", template)
    texts = {each.name.removesuffix(".txt"): each.read_text("utf-8") for each in source.iterdir()}
    there = [name for name in sorted(texts) if (path / name).exists()]
    if there and not force:
        raise DiscoveryError(f"{path / there[0]} exists.", "Choose another folder, or add --force.")
    path.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(texts.items()):
        (path / name).write_text(text, "utf-8")
        click.echo(f"wrote {path / name}")
    click.echo(f'next: atlas run --path {path} --task "…"')


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter("write NAME=VALUE", param_hint=option)
    return name, value


def _arguments(given: tuple[str, ...], file: Path | None) -> dict[str, Any]:
    """The environment's arguments: those of the file, overruled by those of the command line."""
    found: dict[str, Any] = {}
    if file is not None:
        import yaml

        try:
            read = yaml.safe_load(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise click.BadParameter(f"{file} is no YAML ({type(error).__name__})", param_hint="--env-config") from None
        if not isinstance(read, dict):
            raise click.BadParameter(f"{file} holds no mapping", param_hint="--env-config")
        found.update(cast("dict[str, Any]", read))
    for name, value in (_pair(each, "--env-arg") for each in given):
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _consents(discovered: Any, given: Options) -> bool:
    """Whether what was found may be run: nothing is, without a word of the user's."""
    names = [chosen.candidate.label for chosen in discovered.record.chosen if chosen.import_path is not None]
    if given["no_run"] or not names:
        return False
    if given["validate"]:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        click.echo("nothing was run; --validate imports what was found, in a child process", err=True)
        return False
    question = f"Import {' and '.join(names)} in a child process, without network and without your keys?"
    return click.confirm(question, default=False, err=True)


async def _record(root: Path, discovered: Discovered) -> None:
    """Keep it in the project's database too; a database that is away does not undo the discovery."""
    from atlas.config import StorageConfig
    from atlas.discovery import FOLDER
    from atlas.schema.errors import AtlasError
    from atlas.store.discoveries import record_discovery
    from atlas.store.open import open_database

    project = Project(root, root / CONFIG_NAME, named=False)
    try:
        config = project.known_config()
        storage = config.storage if config else StorageConfig()
        if storage is None:
            return
        clean = project.safety().boundary.noun(discovered)
        async with open_database(storage.database_url or root / FOLDER) as database:
            await record_discovery(
                database, project_root=str(root), task=clean.task, payload=clean.model_dump(mode="json")
            )
    except AtlasError as error:
        click.echo(f"atlas: the discovery is not in the database: {error}", err=True)


def _tell(root: Path, discovered: Discovered) -> None:
    """What was found, and what to do next."""
    from atlas.cli.text import safe

    for chosen in discovered.chosen:
        found = chosen.candidate
        click.echo(f"{found.role}  {safe(found.label)} (line {found.line}): {', '.join(map(safe, found.why))}")
        if chosen.look is not None:
            said = (
                f"ok, {chosen.look.level or chosen.look.name}"
                if chosen.look.ok
                else f"failed: {safe(chosen.look.error)}"
            )
            click.echo(f"  run in a child process: {said}")
        lacking = [name for name in found.needs if found.role == "agent" or name not in discovered.arguments]
        if lacking:
            remedy = "fill in .atlas/generated_factories.py" if found.role == "agent" else "give with --env-arg"
            click.echo(f"  {remedy}: {', '.join(map(safe, lacking))}")
    for other in discovered.others[:3]:
        click.echo(f"not chosen: {safe(other.label)} (score {other.score}); take it with --{_option(other.role)}")
    told = {"libraries": discovered.frameworks, "models": discovered.models, "keys": discovered.keys}
    for name, values in told.items():
        if values:
            click.echo(f"{name}: {', '.join(map(safe, values[:12]))}")
    unset = [key for key in discovered.keys if not os.environ.get(key)]
    if unset:
        click.echo(f"not set: {', '.join(map(safe, unset))}; put what the agent needs in {root / '.env'}")
    click.echo(f"wrote {root / '.atlas' / 'generated_config.yaml'}")
    click.echo("next: atlas run" + ("" if discovered.task else ' --task "…"'))


def _option(role: str) -> str:
    return "agent-fn" if role == "agent" else "env-fn"
