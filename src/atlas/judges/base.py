"""The socket of a judge."""

from __future__ import annotations

from typing import Protocol

from atlas.models import Caller
from atlas.schema import Session, Verdict


class Judge(Protocol):
    """Reads a finished session and gives a verdict, or raises; there is no default score."""

    @property
    def name(self) -> str:
        """How its verdicts are recorded."""
        ...

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        """The verdict on a session that has an answer.

        Raises:
            JudgeError: it could not tell (a check raised, a reply was malformed, a refusal).
            ModelError: its model failed.
        """
        ...
