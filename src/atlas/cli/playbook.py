"""`atlas playbook`: what was learnt, how it came about, and what a person does about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, get_args

import click

from atlas.cli.project import Project, project_options
from atlas.schema import Audience

if TYPE_CHECKING:
    from atlas.schema import Playbook
    from atlas.store import Store

Given = ParamSpec("Given")
Format = Literal["json", "skill", "agents"]

IMPORT = """\b
Examples:
  atlas playbook import refunds lessons.json
  atlas playbook import refunds SKILL.md --audience student
  atlas playbook export refunds | atlas playbook import payments -

\b
Reads what `atlas playbook export` writes, any SKILL.md, and the section of an AGENTS.md. Whatever a file says about
trust, evidence and state, imported lessons are candidates: they reach no prompt before a person approved them or they
passed `atlas learning gate`.
"""
WHY = """\b
Examples:
  atlas playbook why 0190b7a0     which lessons a session saw, and why each matching one was shown or not
  atlas playbook why 4f2a91 --key refunds     what speaks for and against one lesson
"""


@click.group("playbook")
def command() -> None:
    """Show, compare, review, roll back, export and import what was learnt."""


def _which(function: Callable[Given, None]) -> Callable[Given, None]:
    """KEY, --audience and --tenant of one playbook."""
    tenant = click.option("--tenant", default="default", show_default=True, help="Whose playbook.")
    audience = click.option(
        "--audience", type=click.Choice(get_args(Audience)), default="student", show_default=True, help="Who reads it."
    )
    return click.argument("key")(audience(tenant(function)))


@command.command("list", epilog="\b\nExample:\n  atlas playbook list")
@project_options
@click.option("--tenant", default="default", show_default=True, help="Whose playbooks.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a playbook.")
def list_playbooks(project: Project, *, tenant: str, as_json: bool) -> None:
    """List the newest version of every playbook."""
    from atlas.cli.text import playbook_rows
    from atlas.runtime.telemetry import json_line

    books = asyncio.run(_shelf(project, tenant))
    for line in map(json_line, books) if as_json else playbook_rows(books):
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
    """Show the lessons of a learning KEY with their evidence, sources and bytes."""
    from atlas.cli.text import playbook_text
    from atlas.runtime.telemetry import json_line

    if version is not None and audience is None:
        raise click.UsageError("--version needs --audience")
    audiences: tuple[Audience, ...] = get_args(Audience) if audience is None else (audience,)
    for playbook in asyncio.run(_of_key(project, tenant, key, audiences, version)):
        for line in [json_line(playbook)] if as_json else playbook_text(playbook):
            click.echo(line)


@command.command("diff", epilog="\b\nExamples:\n  atlas playbook diff refunds 7\n  atlas playbook diff refunds 7 12")
@_which
@click.argument("older", type=click.IntRange(min=0))
@click.argument("newer", type=click.IntRange(min=0), required=False)
@project_options
def diff(project: Project, *, key: str, audience: Audience, tenant: str, older: int, newer: int | None) -> None:
    """What changed in the playbook of KEY from version OLDER to NEWER; without NEWER to the newest."""
    from atlas.cli.history import diff_lines, one_version

    async def read() -> tuple[Playbook, Playbook]:
        async with project.store() as store:
            found = [await one_version(store, (tenant, key, audience), version) for version in (older, newer)]
            return found[0], found[1]

    for line in diff_lines(*asyncio.run(read())):
        click.echo(line)


@command.command("blame", epilog="\b\nExample:\n  atlas playbook blame refunds")
@_which
@project_options
def blame(project: Project, *, key: str, audience: Audience, tenant: str) -> None:
    """For each lesson of KEY: in which version, when and why it came in and changed its state."""
    from atlas.cli.history import blame_lines

    for line in asyncio.run(blame_lines(project, (tenant, key, audience))):
        click.echo(line)


@command.command("sessions", epilog="\b\nExample:\n  atlas playbook sessions refunds --version 7")
@_which
@click.option("--version", type=click.IntRange(min=0), required=True, help="Which version.")
@project_options
def sessions(project: Project, *, key: str, audience: Audience, tenant: str, version: int) -> None:
    """The sessions of KEY that ran with one version, and the lessons each saw."""
    from atlas.cli.history import session_lines

    for line in asyncio.run(session_lines(project, (tenant, key, audience), version)):
        click.echo(line)


@command.command("why", epilog=WHY)
@click.argument("which", metavar="SESSION|LESSON")
@click.option("--key", help="The learning key of a lesson.")
@click.option("--tenant", default="default", show_default=True, help="Whose lesson.")
@project_options
def why(project: Project, *, which: str, key: str | None, tenant: str) -> None:
    """Why a session saw what it saw, or why a lesson is in its state."""
    from atlas.cli.history import why_lesson, why_session

    lines = why_session(project, which) if key is None else why_lesson(project, tenant, key, which)
    for line in asyncio.run(lines):
        click.echo(line)


@command.command("rollback", epilog="\b\nExample:\n  atlas playbook rollback refunds --version 7 --note 'worse since'")
@_which
@click.option("--version", type=click.IntRange(min=0), required=True, help="The version whose lessons shall act again.")
@click.option("--note", default="", help="Why; it is kept with the version.")
@click.option("--yes", is_flag=True, help="Also where more than a fifth of the active lessons would be dropped.")
@project_options
def rollback(project: Project, *, key: str, audience: Audience, tenant: str, version: int, **how: str | bool) -> None:
    """Make a new version of KEY's playbook with the entries of an old one, byte for byte."""
    from atlas.cli.rewriting import roll_back

    click.echo(asyncio.run(roll_back(project, (tenant, key, audience), version, str(how["note"]), bool(how["yes"]))))


@command.command("approve", epilog="\b\nExample:\n  atlas playbook approve refunds 4f2a --note 'read it'")
@_which
@click.argument("entry_id", metavar="ID")
@click.option("--note", default="", help="Why; it is kept with the lesson.")
@project_options
def approve(project: Project, *, key: str, audience: Audience, tenant: str, entry_id: str, note: str) -> None:
    """Let a lesson of KEY into trial, with fresh evidence. Look at it first: atlas playbook show KEY."""
    from atlas.cli.rewriting import decide

    click.echo(asyncio.run(decide(project, (tenant, key, audience), entry_id, approved=True, note=note)))


@command.command("quarantine", epilog="\b\nExample:\n  atlas playbook quarantine refunds 4f2a --note 'wrong account'")
@_which
@click.argument("entry_id", metavar="ID")
@click.option("--note", default="", help="Why; it is kept with the lesson.")
@project_options
def quarantine(project: Project, *, key: str, audience: Audience, tenant: str, entry_id: str, note: str) -> None:
    """Take a lesson of KEY out of every prompt; no twin brings it back."""
    from atlas.cli.rewriting import decide

    click.echo(asyncio.run(decide(project, (tenant, key, audience), entry_id, approved=False, note=note)))


@command.command("export", epilog="\b\nExample:\n  atlas playbook export refunds --format skill > SKILL.md")
@_which
@click.option("--version", type=click.IntRange(min=0), help="An earlier version.")
@click.option(
    "--format", "form", type=click.Choice(get_args(Format)), default="json", show_default=True,
    help="json has everything; skill is a SKILL.md, agents a section for an AGENTS.md, both with what acts only.",
)  # fmt: skip
@project_options
def export(project: Project, *, key: str, audience: Audience, tenant: str, version: int | None, form: Format) -> None:
    """Write the playbook of KEY to stdout."""
    from atlas.cli.history import one_version
    from atlas.memory.files import exported

    async def read() -> Playbook:
        async with project.store() as store:
            return await one_version(store, (tenant, key, audience), version)

    click.echo(exported(asyncio.run(read()), form), nl=False)


@command.command("import", epilog=IMPORT)
@_which
@click.argument("file", type=click.Path(allow_dash=True, exists=True, dir_okay=False, path_type=Path))
@project_options
def import_(project: Project, *, key: str, audience: Audience, tenant: str, file: Path) -> None:
    """Add the lessons of FILE to the playbook of KEY, as candidates; `-` reads stdin."""
    from atlas.cli.rewriting import take_in

    for line in asyncio.run(take_in(project, (tenant, key, audience), file)):
        click.echo(line)


async def _shelf(project: Project, tenant: str) -> list[Playbook]:
    async with project.store() as store:
        return await store.shelf(tenant)


async def _of_key(
    project: Project, tenant: str, key: str, audiences: tuple[Audience, ...], version: int | None
) -> list[Playbook]:
    async with project.store() as store:
        return await _playbooks(store, tenant, key, audiences, version)


async def _playbooks(
    store: Store, tenant: str, key: str, audiences: tuple[Audience, ...], version: int | None
) -> list[Playbook]:
    return [await store.playbook(tenant, key, audience, version) for audience in audiences]
