"""`arc-atlas`: export and review under the name and with the options that scripts know."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
from typing_extensions import Unpack

from atlas.cli.app import run_command
from atlas.cli.export import Source, run_export
from atlas.cli.export_options import Given, export_options
from atlas.cli.project import read_environment
from atlas.cli.review import review

EPILOG = """\b
Examples:
  arc-atlas --database-url postgresql://atlas@db/atlas --output traces.jsonl
  arc-atlas --database-url postgresql://atlas@db/atlas --include-status pending --output traces.jsonl.gz
  arc-atlas review sessions --database-url postgresql://atlas@db/atlas
"""
HELP = {"help_option_names": ["-h", "--help"]}


def arc_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of an export from a database that is given."""
    config = click.option("--config", type=click.Path(path_type=Path), help="A configuration whose review gate counts.")
    url = click.option("--database-url", metavar="URL", help="The database: postgresql://user@host:5432/name.")
    return url(config(export_options(function)))


@click.group("arc-atlas", invoke_without_command=True, epilog=EPILOG, context_settings=HELP)
@arc_options
@click.pass_context
def arc(ctx: click.Context, *, database_url: str | None, config: Path | None, **given: Unpack[Given]) -> None:
    """Write reviewed sessions of a database to a file: whole records, or rows for a trainer."""
    if ctx.invoked_subcommand is None:
        run_export(lambda: _source(database_url, config), given)


@arc.command("export", epilog=EPILOG)
@arc_options
def export_command(*, database_url: str | None, config: Path | None, **given: Unpack[Given]) -> None:
    """The same."""
    run_export(lambda: _source(database_url, config), given)


arc.add_command(review)


arc.add_command(review)


def main() -> None:
    """The entry point `arc-atlas`."""
    sys.exit(run_command(sys.argv[1:], arc))


def _source(database_url: str | None, config: Path | None) -> Source:
    from atlas.config import load_config

    if not database_url:
        raise click.UsageError("Missing option '--database-url'.")
    read_environment(Path())
    return Source(database_url, load_config(config).runtime_safety.review if config else None)
