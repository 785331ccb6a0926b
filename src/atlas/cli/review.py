"""`arc-atlas review`, and what `atlas session` shares with it: lists for reviewers and their decisions."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, get_args

import click

from atlas.cli.project import read_environment
from atlas.store.base import ReviewStatus

if TYPE_CHECKING:
    from atlas.store.review import ReviewRow

REVIEWER_VARIABLE = "ATLAS_REVIEWER"
"""Who decides, where it is not the user of the machine."""
STATUSES = get_args(ReviewStatus)
HASH_SHOWN = 12
Given = ParamSpec("Given")


@click.group("review", epilog="\b\nExample:\n  arc-atlas review sessions --database-url postgresql://atlas@db/atlas")
def review() -> None:
    """List sessions for review, approve them, or put them into quarantine."""


def _database_url(function: Callable[Given, None]) -> Callable[Given, None]:
    shown = "The database: postgresql://user@host:5432/name."
    return click.option("--database-url", required=True, metavar="URL", help=shown)(function)


def decision_options(function: Callable[Given, None]) -> Callable[Given, None]:
    """What a decision takes."""
    note = click.option("--note", help="Why; it is kept with the session.")
    seen = click.option(
        "--hash", "seen", metavar="HASH", help="The content hash that was looked at; else what is there."
    )
    return click.argument("session_id", metavar="ID")(note(seen(function)))


@review.command("sessions")
@_database_url
@click.option("--status", "reviews", multiple=True, type=click.Choice((*STATUSES, "all")), help="Default: pending.")
@click.option("--learning-key", help="Only sessions of this key.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Sessions at most.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Newest sessions to leave out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def review_sessions(
    *,
    database_url: str,
    reviews: tuple[str, ...],
    learning_key: str | None,
    limit: int,
    offset: int,
    as_json: bool,
) -> None:
    """List sessions with their content hash and drift, newest first."""
    from atlas.runtime.telemetry import json_line

    chosen: list[ReviewStatus] | None = [status for status in STATUSES if status in (reviews or ("pending",))]
    rows = asyncio.run(_rows(database_url, None if "all" in reviews else chosen, learning_key, (limit, offset)))
    for line in map(json_line, rows) if as_json else review_rows(rows):
        click.echo(line)


@review.command("approve")
@_database_url
@decision_options
def approve(*, database_url: str, session_id: str, note: str | None, seen: str | None) -> None:
    """Let a session be exported and trained on."""
    tell_decision(database_url, session_id, "approved", (note, seen))


@review.command("quarantine")
@_database_url
@decision_options
def quarantine(*, database_url: str, session_id: str, note: str | None, seen: str | None) -> None:
    """Keep a session out of every export."""
    tell_decision(database_url, session_id, "quarantined", (note, seen))


@review.command("reopen")
@_database_url
@decision_options
def reopen(*, database_url: str, session_id: str, note: str | None, seen: str | None) -> None:
    """Take a decision back: the session is pending again."""
    tell_decision(database_url, session_id, "pending", (note, seen))


def tell_decision(
    where: str | Path, session_id: str, decision: ReviewStatus, words: tuple[str | None, str | None]
) -> None:
    """Record a decision with its note and the hash that was seen, and say what it is about."""
    read_environment(Path())
    found = asyncio.run(_decide(where, session_id, decision, words))
    click.echo(f"{decision} {session_id} with content {found[:HASH_SHOWN]}")


def reviewer() -> str:
    """Who decides: ATLAS_REVIEWER, else the user of the machine."""
    try:
        return os.environ.get(REVIEWER_VARIABLE) or getpass.getuser()
    except (KeyError, OSError):  # A container's user without a name.
        return f"uid {os.getuid()}"


def review_rows(rows: Sequence[ReviewRow]) -> Iterator[str]:
    """The list of a reviewer."""
    from atlas.cli.text import columns, safe

    table = [("SESSION", "STARTED", "STATUS", "REVIEW", "REWARD", "DRIFT", "HASH", "KEY", "TASK")]
    for row in rows:
        reward = "-" if row.reward is None else f"{row.reward:.2f}"
        drift = "-" if row.drift is None else f"{row.drift.score:+.1f}" + ("!" if row.drift.alert else "")
        state = (row.status, row.review, reward, drift, row.hash[:HASH_SHOWN])
        started = f"{row.created_at:%Y-%m-%d %H:%M}"
        table.append((row.id, started, *state, safe(row.learning_key, 24), safe(row.prompt, 60)))
    return columns(table)


async def _rows(
    where: str, reviews: Sequence[ReviewStatus] | None, key: str | None, page: tuple[int, int]
) -> list[ReviewRow]:
    from atlas.store.open import open_database
    from atlas.store.review import ReviewDesk

    async with open_database(where) as database:
        found = ReviewDesk(database).sessions(reviews=reviews, learning_key=key, limit=page[0], offset=page[1])
        return [row async for row in found]


async def _decide(
    where: str | Path, session_id: str, decision: ReviewStatus, words: tuple[str | None, str | None]
) -> str:
    from atlas.store.open import open_database
    from atlas.store.review import ReviewDesk

    note, seen = words
    async with open_database(where) as database:
        return await ReviewDesk(database).decide(session_id, decision, who=reviewer(), note=note, seen=seen)
