"""`atlas db prune`, and deleting one session."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.export import project_source
from atlas.cli.project import Project, project_options
from atlas.cli.review import reviewer

if TYPE_CHECKING:
    from atlas.store.pruning import Doomed, Pruned

_AGE = re.compile(r"([0-9]{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Age(click.ParamType[timedelta]):
    """A length of time: 12h, 90d or 8w."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The text as a length of time."""
        match = _AGE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no age; write 12h, 90d or 8w.", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


@click.group("db")
def command() -> None:
    """Look after the database."""


@command.command("prune", epilog="\b\nExample:\n  atlas db prune --older-than 90d --keep-approved --dry-run")
@project_options
@click.option("--older-than", type=Age(), metavar="AGE", help="Sessions that started longer ago: 12h, 90d, 8w.")
@click.option("--tenant", help="Only sessions of this owner.")
@click.option("--session", "session_id", metavar="ID", help="Only this session.")
@click.option("--keep-approved", is_flag=True, help="Keep what a reviewer approved.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune_command(
    project: Project, *, older_than: timedelta | None, dry_run: bool, yes: bool, **which: str | bool | None
) -> None:
    """Delete sessions with their events; playbooks stay."""
    from atlas.schema import now
    from atlas.store.pruning import Doomed

    doomed = Doomed.model_validate({**which, "before": None if older_than is None else now() - older_than})
    if doomed.before is None and doomed.tenant is None and doomed.session_id is None:
        raise click.UsageError("Say which: --older-than, --tenant or --session.")
    delete(project, doomed, dry_run=dry_run, yes=yes)


def delete(project: Project, doomed: Doomed, *, dry_run: bool = False, yes: bool = False) -> None:
    """Say what would go, ask, and delete it."""
    source = project_source(project)
    found = asyncio.run(_prune(source.place, doomed, really=False))
    if dry_run or not found.sessions + found.events + found.weeks:
        click.echo(f"would delete {_words(found)}" if dry_run else "nothing to delete; running sessions stay")
        return
    if not yes:
        click.confirm(f"Delete {_words(found)}? This cannot be undone.", abort=True)
    click.echo(f"deleted {_words(asyncio.run(_prune(source.place, doomed, really=True)))}")


def _words(pruned: Pruned) -> str:
    weeks = f", {pruned.weeks} whole weeks" if pruned.weeks else ""
    return f"{pruned.sessions:,} sessions with {pruned.events:,} events{weeks}"


async def _prune(place: str | Path, doomed: Doomed, *, really: bool) -> Pruned:
    from atlas.store.open import open_database
    from atlas.store.pruning import prune, would_prune

    async with open_database(place) as database:
        return await prune(database, doomed, who=reviewer()) if really else await would_prune(database, doomed)
