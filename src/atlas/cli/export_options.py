"""The options that `atlas export` and `arc-atlas` share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, get_args

import click

from atlas.schema import Status

if TYPE_CHECKING:
    from atlas.config import ReviewConfig
    from atlas.export import Order, Selection

REVIEWS = ("pending", "approved", "quarantined")
FORMATS = ("jsonl", "parquet", "sft", "grpo", "gkd")
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
COUNT = click.IntRange(min=0)


class Given(TypedDict):
    """The options of an export as they are given."""

    output: str | None
    format: str
    role: str
    session_ids: tuple[str, ...]
    limit: int | None
    offset: int
    statuses: tuple[Status, ...]
    include_statuses: tuple[str, ...]
    include_all_statuses: bool
    learning_key: str | None
    tenant: str | None
    min_reward: float | None
    max_reward: float | None
    created_after: datetime | None
    created_before: datetime | None
    event_limit: int | None
    batch_size: int
    resume: bool
    schema: bool
    quiet: bool


Option = Callable[[Callable[..., None]], Callable[..., None]]

FILE: tuple[Option, ...] = (
    click.option("--output", metavar="FILE", help="Where to: .gz and .zst are compressed, - is standard output."),
    click.option("--format", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="What a row holds."),
    click.option(
        "--role",
        type=click.Choice(["student", "teacher", "judge"]),
        default="student",
        show_default=True,
        help="Whose conversations, for sft and grpo.",
    ),
    click.option(
        "--trajectory-event-limit",
        "--trajectory-limit",
        "event_limit",
        type=COUNT,
        help="Of a session's events only the newest so many; such a record cannot be imported.",
    ),
    click.option("--resume", is_flag=True, help="Go on with the file that an earlier export left unfinished."),
)
FILTERS: tuple[Option, ...] = (
    click.option("--session-id", "session_ids", multiple=True, help="Only this session; a prefix is enough."),
    click.option("--limit", type=COUNT, help="Sessions at most, the newest."),
    click.option("--offset", type=COUNT, default=0, help="Leave out the newest so many."),
    click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice(get_args(Status), case_sensitive=False),
        help="Only sessions in this state.",
    ),
    click.option(
        "--include-status",
        "include_statuses",
        multiple=True,
        type=click.Choice(REVIEWS, case_sensitive=False),
        help="Also sessions with this review status; approved ones pass anyhow.",
    ),
    click.option("--include-all-statuses", is_flag=True, help="Sessions of every review status."),
    click.option("--learning-key", help="Only sessions of this key."),
    click.option("--tenant", help="Only this owner's sessions."),
    click.option("--min-reward", type=float, help="Only sessions with a reward of at least this."),
    click.option("--max-reward", type=float, help="Only sessions with a reward of at most this."),
    click.option("--created-after", type=MOMENT, help="Only sessions started then or later (UTC)."),
    click.option("--created-before", type=MOMENT, help="Only sessions started then or earlier (UTC)."),
)
MANNER: tuple[Option, ...] = (
    click.option("--batch-size", type=click.IntRange(1, 10_000), default=200, help="Sessions read at a time."),
    click.option("--schema", is_flag=True, help="Print the JSON Schema of a record, and end."),
    click.option("--quiet", is_flag=True, help="Say nothing but errors."),
)


def export_options(function: Callable[..., None]) -> Callable[..., None]:
    """All of them."""
    for option in reversed((*FILE, *FILTERS, *MANNER)):
        function = option(function)
    return function


def order_of(given: Given, review: ReviewConfig | None) -> Order:
    """The export that the options ask for, behind the review gate.

    Raises:
        ConfigError: the environment names a review status that does not exist.
        UsageError: a number is none.
    """
    from pydantic import ValidationError

    from atlas.export import Order

    fields: dict[str, Any] = {name: given[name] for name in ("output", "format", "role", "event_limit", "resume")}
    try:
        return Order(selection=_selection(given, review), page=given["batch_size"], **fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"{first['loc'][0]}: {first['msg']}") from error


def _selection(given: Given, review: ReviewConfig | None) -> Selection:
    from atlas.export import Selection, reviews_allowed

    every, also = given["include_all_statuses"], given["include_statuses"]
    return Selection(
        ids=given["session_ids"],
        statuses=given["statuses"],
        reviews=reviews_allowed(review, os.environ, also=also, every=every),
        learning_key=given["learning_key"],
        tenant=given["tenant"],
        min_reward=given["min_reward"],
        max_reward=given["max_reward"],
        created_from=given["created_after"],
        created_until=given["created_before"],
        limit=given["limit"],
        offset=given["offset"],
    )
