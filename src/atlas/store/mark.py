"""Where a page of a list of sessions ended."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from atlas.schema import Noun

_TOP = datetime(9999, 1, 1, tzinfo=UTC)


class Mark(Noun):
    """Where a page of a list ended: the next one begins below it."""

    at: datetime = _TOP
    """When the last session of the page started (UTC)."""
    uid: uuid.UUID = uuid.UUID(int=2**128 - 1)
    """Its id."""

    def __str__(self) -> str:
        return f"{int(self.at.timestamp() * 1e6 + 0.5):x}.{self.uid.hex}"

    @classmethod
    def parse(cls, text: str) -> Mark:
        """What `str` gave.

        Raises:
            ValueError: it is no mark.
        """
        micros, _, uid = text.partition(".")
        try:
            return cls(at=datetime.fromtimestamp(int(micros, 16) / 1e6, UTC), uid=uuid.UUID(uid))
        except (OverflowError, OSError) as error:
            raise ValueError(f"{text!r} is no mark") from error
