"""The sockets of judging."""

from __future__ import annotations

from typing import Protocol

from atlas.models import Caller
from atlas.schema import Reward, Session, Verdict


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


class Check(Judge, Protocol):
    """A judge that is executed, not asked: its word stands above a model's."""

    @property
    def weight(self) -> float:
        """Its share beside other checks, above 0."""
        ...

    @property
    def dense(self) -> bool:
        """Whether it may be asked about every attempt at the answer too, not only about the last one."""
        ...


class Arbiter(Protocol):
    """A judge that is asked where the others disagree or doubt."""

    @property
    def name(self) -> str:
        """How its verdicts are recorded."""
        ...

    async def settle(self, session: Session, verdicts: tuple[Verdict, ...], caller: Caller) -> Verdict:
        """The verdict, with the other judges' readings at hand.

        Raises:
            JudgeError: it could not tell.
            ModelError: its model failed.
        """
        ...


class Rewarder(Protocol):
    """What the runtime asks for once the caller has the answer."""

    async def reward(self, session: Session, caller: Caller) -> Reward:
        """The reward of an answered session; its verdicts, failures and itself are recorded on the caller's trace.

        Raises:
            StoreError: the record could not be written. No judge's failure is raised.
        """
        ...
