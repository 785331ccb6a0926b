"""`atlas playbook list` and `atlas playbook show`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

import click

from atlas.cli.project import Project, project_options
from atlas.schema import Audience

if TYPE_CHECKING:
    from atlas.schema import Playbook
    from atlas.store import Store

SESSIONS_READ = 1000
"""Newest sessions whose keys are listed."""


@click.group("playbook")
def command() -> None:
    """Show what was learnt."""


@command.command("list", epilog="\b\nExample:\n  atlas playbook list")
@project_options
@click.option("--tenant", default="default", show_default=True, help="Whose playbooks.")
def list_playbooks(project: Project, *, tenant: str) -> None:
    """List the playbooks of every learning key among the newest sessions."""
    from atlas.cli.text import playbook_rows

    for line in playbook_rows(asyncio.run(_all(project, tenant))):
        click.echo(line)


@command.command("show", epilog="\b\nExample:\n  atlas playbook show refunds --audience student")
@click.argument("key")
@project_options
@click.option("--audience", type=click.Choice(get_args(Audience)), help="Only the student's or the teacher's.")
@click.option("--version", type=click.IntRange(min=0), help="An earlier version; needs --audience.")
@click.option("--tenant", default="default", show_default=True, help="Whose playbook.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a playbook.")
def show(
    project: Project, *, key: str, audience: Audience | None, version: int | None, tenant: str, as_json: bool
) -> None:
    """Show the lessons of a learning KEY with their evidence."""
    from atlas.cli.text import playbook_text
    from atlas.runtime.telemetry import json_line

    if version is not None and audience is None:
        raise click.UsageError("--version needs --audience")
    audiences: tuple[Audience, ...] = get_args(Audience) if audience is None else (audience,)
    for playbook in asyncio.run(_of_key(project, tenant, key, audiences, version)):
        for line in [json_line(playbook)] if as_json else playbook_text(playbook):
            click.echo(line)


async def _all(project: Project, tenant: str) -> list[Playbook]:
    async with project.store() as store:
        keys = {row.learning_key: None async for row in store.sessions(limit=SESSIONS_READ)}
        found = [await _playbooks(store, tenant, key, get_args(Audience), None) for key in keys]
    return [playbook for playbooks in found for playbook in playbooks if playbook.version > 0]


async def _of_key(
    project: Project, tenant: str, key: str, audiences: tuple[Audience, ...], version: int | None
) -> list[Playbook]:
    async with project.store() as store:
        return await _playbooks(store, tenant, key, audiences, version)


async def _playbooks(
    store: Store, tenant: str, key: str, audiences: tuple[Audience, ...], version: int | None
) -> list[Playbook]:
    return [await store.playbook(tenant, key, audience, version) for audience in audiences]
