"""The sockets of an export: a format makes rows of sessions, a sink takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from atlas.export.source import StoredSession
from atlas.schema import Noun

Row = str | Noun
"""A line of JSON that is already written, or a noun still to be."""


class Format(Protocol):
    """What the rows of an export look like."""

    by_question: bool
    """Whether it wants all sessions that answer one question together, else one session at a time."""

    def rows(self, sessions: Sequence[StoredSession]) -> Iterator[Row]:
        """The rows of these sessions; none where they hold nothing of use.

        Raises:
            ValueError: their events do not tell a session.
        """
        ...


class Sink(Protocol):
    """Where the rows go."""

    def write(self, row: Row) -> None:
        """Take one row.

        Raises:
            ConfigError: the place cannot be written.
        """
        ...
