"""`atlas config check`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("config")
def command() -> None:
    """Check a configuration file."""


@command.command("check", epilog="\b\nExample:\n  atlas config check atlas.yaml")
@click.argument("file", type=click.Path(path_type=Path), default=Path("atlas.yaml"))
@click.option("--show", is_flag=True, help="Print the whole configuration with its defaults, as JSON.")
def check(file: Path, show: bool) -> None:
    """Check FILE (atlas.yaml by default). Every problem is one line with its file and line."""
    from atlas.cli.project import read_environment
    from atlas.config import load_config

    read_environment(file.parent)
    config = load_config(file)
    if show:
        click.echo(config.model_dump_json(indent=2, exclude={"storage": {"database_url"}}))
    else:
        click.echo(f"{file}: ok")
