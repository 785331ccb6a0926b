"""`atlas export` and `atlas import`: sessions out as files, and back in."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from typing_extensions import Unpack

from atlas.cli.app import FAILED
from atlas.cli.export_options import Given, export_options, order_of
from atlas.cli.project import Project, project_options, read_environment

if TYPE_CHECKING:
    from atlas.config import ReviewConfig
    from atlas.export import Exported, Imported, Order

REASONS_SHOWN = 20
"""Refused lines that are told one by one."""
NOTHING = (
    "no session passed the filters; approve some with `arc-atlas review approve ID`, "
    "or set ATLAS_REVIEW_REQUIRE_APPROVAL=0 for local work"
)


class Source(NamedTuple):
    """Where an export reads."""

    place: str | Path
    """URL, or state folder."""
    review: ReviewConfig | None
    """The configured gate."""
    timeout_s: float = 30.0
    """Seconds for one statement."""


@click.command("export", epilog="\b\nExample:\n  atlas export --output traces.jsonl.gz --min-reward 0.8")
@project_options
@export_options
def export_command(project: Project, **given: Unpack[Given]) -> None:
    """Write reviewed sessions to a file: whole records, or rows for a trainer."""
    run_export(lambda: project_source(project), given)


@click.command("import", epilog="\b\nExample:\n  atlas import traces.jsonl.gz")
@project_options
@click.argument("file")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def import_command(project: Project, *, file: str, quiet: bool) -> None:
    """Store the records of a JSONL FILE (- is standard input). They are pending review."""
    told = asyncio.run(_take(project, file, quiet))
    if not quiet:
        known = f", {told.known:,} of them known before" if told.known else ""
        click.echo(f"{told.lines:,} lines: {told.stored:,} stored{known}, {told.refused:,} refused.", err=True)
    if told.refused:
        click.get_current_context().exit(FAILED)


commands = {"export": export_command, "import": import_command}


def run_export(source: Callable[[], Source], given: Given) -> None:
    """Export what the options say from where they say."""
    if given["schema"]:
        from atlas.export.schema import record_schema

        click.echo(json.dumps(record_schema(), indent=2))
        return
    if not given["output"]:
        raise click.UsageError("Missing option '--output'.")
    where = source()
    order = order_of(given, where.review)
    try:
        told = asyncio.run(_export(where, order, shown=not given["quiet"] and sys.stderr.isatty()))
    except BaseException:
        _tell_unfinished(order)
        raise
    if told.left_out:
        click.echo(f"atlas: {told.left_out:,} sessions are left out: their events are gone or damaged", err=True)
    if not told.sessions and not told.resumed:
        click.echo(f"atlas: {NOTHING}", err=True)
        click.get_current_context().exit(FAILED)
    if not given["quiet"]:
        rows = f" as {told.rows:,} rows" if order.format != "jsonl" else ""
        more = " more" if told.resumed else ""
        click.echo(f"Exported {told.sessions:,}{more} sessions{rows} to {given['output']}.", err=True)


async def _export(source: Source, order: Order, *, shown: bool) -> Exported:
    from atlas.export import export, open_reader

    def show(told: Exported) -> None:
        if shown and told.sessions % 100 == 0:
            click.echo(f"\r{told.sessions:,} sessions", nl=False, err=True)

    try:
        async with open_reader(source.place, statement_timeout_s=source.timeout_s) as reader:
            return await export(reader, order, progress=show)
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _tell_unfinished(order: Order) -> None:
    from atlas.export.files import UNFINISHED

    part = Path(order.output + UNFINISHED)
    if order.format == "jsonl" and part.exists():
        click.echo(f"atlas: {part} holds what was written; --resume goes on with it", err=True)


def project_source(project: Project) -> Source:
    """The project's database and review gate.

    Raises:
        ConfigError: nothing is stored for this project.
    """
    from atlas.runtime import STATE_FOLDER
    from atlas.schema.errors import ConfigError

    read_environment(project.folder, project.variables)
    config = project.known_config()
    review = config.runtime_safety.review if config else None
    if config is None:
        return Source(project.folder / STATE_FOLDER, review)
    if config.storage is None:
        raise ConfigError(f"{project.file} says storage: null, so nothing is kept.", "Remove that line.")
    place = config.storage.database_url or project.folder / STATE_FOLDER
    return Source(place, review, config.storage.statement_timeout_seconds)


async def _take(project: Project, file: str, quiet: bool) -> Imported:
    from atlas.export import open_importer
    from atlas.runtime import STATE_FOLDER

    told = 0

    def refuse(number: int, reason: str) -> None:
        nonlocal told
        told += 1
        if told <= REASONS_SHOWN:
            click.echo(f"atlas: line {number} is refused: {reason}", err=True)
        elif told == REASONS_SHOWN + 1:
            click.echo("atlas: more lines are refused; they are counted at the end", err=True)

    def show(done: Imported) -> None:
        if not quiet and sys.stderr.isatty():
            click.echo(f"\r{done.lines:,} lines", nl=False, err=True)

    source = project_source(project)
    folder = project.folder / STATE_FOLDER
    importing = open_importer(
        source.place, folder=folder, statement_timeout_s=source.timeout_s, safety=project.safety()
    )
    async with importing as importer:
        return await importer.take(file, refuse, progress=show)
