"""`atlas session`: list, show, review and delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, get_args

import click

from atlas.cli.export import project_source
from atlas.cli.project import Project, project_options
from atlas.cli.review import decision_options, tell_decision
from atlas.schema import Status
from atlas.store.base import ReviewStatus

if TYPE_CHECKING:
    from atlas.schema import Event, Session
    from atlas.store import SessionRow


@click.group("session")
def command() -> None:
    """List, show, approve, quarantine or delete sessions."""


@command.command("list", epilog="\b\nExample:\n  atlas session list --status interrupted")
@project_options
@click.option("--status", type=click.Choice(get_args(Status)), help="Only sessions in this state.")
@click.option("--review", type=click.Choice(get_args(ReviewStatus)), help="Only sessions of which this was decided.")
@click.option("--learning-key", help="Only sessions of this key.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Sessions at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_sessions(
    project: Project,
    *,
    status: Status | None,
    review: ReviewStatus | None,
    learning_key: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List sessions, newest first."""
    from atlas.cli.text import session_rows
    from atlas.runtime.telemetry import json_line

    rows = asyncio.run(_rows(project, (status, review), learning_key, limit))
    for line in map(json_line, rows) if as_json else session_rows(rows):
        click.echo(line)


@command.command("show", epilog="\b\nExample:\n  atlas session show 0190b7a0")
@click.argument("session_id", metavar="ID")
@project_options
@click.option("--events", "as_events", is_flag=True, help="Every event instead, one line each.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --events one event a line.")
def show(project: Project, *, session_id: str, as_events: bool, as_json: bool) -> None:
    """Show one session. The beginning of its ID is enough, or the last eight characters."""
    from atlas.cli.text import session_text
    from atlas.runtime.telemetry import json_line, line

    session, events = asyncio.run(_one(project, session_id))
    if as_events:
        lines = map(json_line if as_json else line, events)
    else:
        lines = iter([json_line(session, indent=2)]) if as_json else session_text(session)
    for text in lines:
        click.echo(text)


@command.command("approve", epilog="\b\nExample:\n  atlas session approve 0190b7a0 --note 'checked the totals'")
@project_options
@decision_options
def approve(project: Project, *, session_id: str, note: str | None, seen: str | None) -> None:
    """Let a session be exported and trained on."""
    tell_decision(project_source(project).place, session_id, "approved", (note, seen))


@command.command("quarantine")
@project_options
@decision_options
def quarantine(project: Project, *, session_id: str, note: str | None, seen: str | None) -> None:
    """Keep a session out of every export."""
    tell_decision(project_source(project).place, session_id, "quarantined", (note, seen))


@command.command("reopen")
@project_options
@decision_options
def reopen(project: Project, *, session_id: str, note: str | None, seen: str | None) -> None:
    """Take a decision back: the session is pending again."""
    tell_decision(project_source(project).place, session_id, "pending", (note, seen))


@command.command("delete", epilog="\b\nExample:\n  atlas session delete 0190b7a0")
@click.argument("session_id", metavar="ID")
@project_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_session(project: Project, *, session_id: str, yes: bool) -> None:
    """Delete a session with its events; what was learnt from it stays."""
    from atlas.cli.db import delete
    from atlas.store.pruning import Doomed

    delete(project, Doomed(session_id=session_id), yes=yes)


async def _rows(
    project: Project, states: tuple[Status | None, ReviewStatus | None], learning_key: str | None, limit: int
) -> list[SessionRow]:
    status, review = states
    async with project.store() as store:
        rows = store.sessions(status=status, learning_key=learning_key, review=review, limit=limit)
        return [row async for row in rows]


async def _one(project: Project, session_id: str) -> tuple[Session, list[Event]]:
    from atlas.schema.errors import ConfigError

    async with project.store() as store:
        session = await store.session(session_id)
        if session is None:
            raise ConfigError(f"There is no session {session_id}.", "List them with: atlas session list")
        return session, await store.events(session.id)
