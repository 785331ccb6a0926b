"""`atlas session list` and `atlas session show`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

import click

from atlas.cli.project import Project, project_options
from atlas.schema import Status

if TYPE_CHECKING:
    from atlas.schema import Event, Session
    from atlas.store import SessionRow


@click.group("session")
def command() -> None:
    """List sessions, or show one."""


@command.command("list", epilog="\b\nExample:\n  atlas session list --status interrupted")
@project_options
@click.option("--status", type=click.Choice(get_args(Status)), help="Only sessions in this state.")
@click.option("--learning-key", help="Only sessions of this key.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Sessions at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_sessions(
    project: Project, *, status: Status | None, learning_key: str | None, limit: int, as_json: bool
) -> None:
    """List sessions, newest first."""
    from atlas.cli.text import session_rows
    from atlas.runtime.telemetry import json_line

    rows = asyncio.run(_rows(project, status, learning_key, limit))
    for line in map(json_line, rows) if as_json else session_rows(rows):
        click.echo(line)


@command.command("show", epilog="\b\nExample:\n  atlas session show 0190b7a0")
@click.argument("session_id", metavar="ID")
@project_options
@click.option("--events", "as_events", is_flag=True, help="Every event instead, one line each.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --events one event a line.")
def show(project: Project, *, session_id: str, as_events: bool, as_json: bool) -> None:
    """Show one session. A prefix of its ID is enough."""
    from atlas.cli.text import session_text
    from atlas.runtime.telemetry import json_line, line

    session, events = asyncio.run(_one(project, session_id))
    if as_events:
        lines = map(json_line if as_json else line, events)
    else:
        lines = iter([json_line(session, indent=2)]) if as_json else session_text(session)
    for text in lines:
        click.echo(text)


async def _rows(project: Project, status: Status | None, learning_key: str | None, limit: int) -> list[SessionRow]:
    async with project.store() as store:
        return [row async for row in store.sessions(status=status, learning_key=learning_key, limit=limit)]


async def _one(project: Project, session_id: str) -> tuple[Session, list[Event]]:
    from atlas.schema.errors import ConfigError

    async with project.store() as store:
        session = await store.session(session_id)
        if session is None:
            raise ConfigError(f"There is no session {session_id}.", "List them with: atlas session list")
        return session, await store.events(session.id)
