"""The socket of a lane."""

from __future__ import annotations

from typing import Protocol

from atlas.roles import Scene
from atlas.schema import Noun


class Played(Noun):
    """What a lane hands to the caller."""

    answer: str
    """The final answer."""
    accepted: bool | None = None
    """Whether the teacher accepted it; None when nobody could review it."""


class LanePlay(Protocol):
    """One way of taking a task to its answer."""

    async def play(self, scene: Scene) -> Played:
        """Play the task to its answer, recording every attempt, review and degradation on the scene.

        Raises:
            AtlasError: the student failed; there is no answer.
        """
        ...
