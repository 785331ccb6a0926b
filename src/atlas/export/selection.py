"""Which sessions leave: filters that the database applies before limit and offset, and the review gate."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import get_args

from pydantic import Field, field_validator

from atlas.config import ReviewConfig
from atlas.schema import Noun, Status
from atlas.schema.errors import ConfigError
from atlas.store import ReviewStatus

REQUIRE_VARIABLE = "ATLAS_REVIEW_REQUIRE_APPROVAL"
"""`0`, `false` or `off` also lets sessions pass that nobody has reviewed."""
STATUSES_VARIABLE = "ATLAS_REVIEW_DEFAULT_EXPORT_STATUSES"
"""Review states, separated by commas, that pass by default; `all` for every one."""
UNREVIEWED: tuple[ReviewStatus, ...] = ("approved", "pending")
"""What passes while approval is not required. What was quarantined never passes by default."""


class Selection(Noun):
    """Filters, all of which a session must pass."""

    ids: tuple[str, ...] = ()
    """Session ids: UUIDs, unique beginnings of one, or the number in the table `sessions`; empty takes any."""
    statuses: tuple[Status, ...] = ()
    """States; empty takes any."""
    reviews: tuple[ReviewStatus, ...] | None = ("approved",)
    """Review states; None takes any."""
    learning_key: str | None = None
    """Only this key."""
    tenant: str | None = None
    """Only this owner."""
    min_reward: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest reward; a session without one does not pass."""
    max_reward: float | None = Field(default=None, allow_inf_nan=False)
    """Largest reward; a session without one does not pass."""
    created_from: datetime | None = None
    """Started at this moment or later."""
    created_until: datetime | None = None
    """Started at this moment or earlier."""
    limit: int | None = Field(default=None, ge=0)
    """The newest so many."""
    offset: int = Field(default=0, ge=0)
    """After leaving out the newest so many."""

    @field_validator("created_from", "created_until")
    @classmethod
    def _aware(cls, moment: datetime | None) -> datetime | None:
        """A moment without a time zone is UTC."""
        return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class Named(Noun):
    """A session as somebody named it: exactly one of the two."""

    number: int | None = None
    """Its number in the table `sessions`."""
    range: tuple[uuid.UUID, uuid.UUID] | None = None
    """Smallest and largest UUID that begin so."""


def named(session_id: str) -> Named:
    """What a session id given by a person means. Digits without a leading zero are a number of the table.

    Raises:
        ConfigError: it is none.
    """
    if session_id.isdecimal() and not session_id.startswith("0") and len(session_id) <= 18:
        return Named(number=int(session_id))
    digits = session_id.replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        raise ConfigError(f"{session_id[:64]!r} is no session id.", "Session ids are UUIDs, or numbers of the table.")
    return Named(range=(uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))))


def reviews_allowed(
    config: ReviewConfig | None,
    environ: Mapping[str, str],
    *,
    also: Sequence[str] = (),
    every: bool = False,
) -> tuple[ReviewStatus, ...] | None:
    """The review states that pass: the environment's, else the configuration's, else approved; and those in `also`.

    None lets every state pass. Raises ConfigError for a state that does not exist.
    """
    review = config or ReviewConfig()
    given = environ.get(STATUSES_VARIABLE, "").split(",")
    tokens = [token.strip().lower() for token in given if token.strip()]
    if every or {"all", "*"} & {*tokens}:
        return None
    passing: tuple[ReviewStatus, ...] = review.default_export_statuses
    if tokens:
        passing = tuple([_status(token) for token in tokens])
    elif "default_export_statuses" not in review.model_fields_set and not _required(review, environ):
        passing = UNREVIEWED
    return tuple(dict.fromkeys([*passing, *(_status(word.lower()) for word in also)]))


def _required(review: ReviewConfig, environ: Mapping[str, str]) -> bool:
    said = environ.get(REQUIRE_VARIABLE, "").strip().lower()
    return said not in ("0", "false", "off", "no") if said else review.require_approval


def _status(word: str) -> ReviewStatus:
    for known in get_args(ReviewStatus):
        if word == known:
            return known
    raise ConfigError(f"There is no review status {word!r}.", f"There are {', '.join(get_args(ReviewStatus))}.")
