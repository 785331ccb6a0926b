"""What the record lets one say about the learnt agent against its baseline arm, the agent without lessons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from atlas.evidence import Gap, Guarantee, not_worse
from atlas.schema import Noun, Recalled
from atlas.store import LedgerRow

LEAST_CONTROL = 0.04
"""Chance of being without lessons below which a session is taken for the worst case: it could say next to nothing."""


class Guarantees(Noun):
    """The statement, shown in two independent ways; each is wrong with probability at most 1 - confidence."""

    key: str
    """The learning key."""
    online: Guarantee
    """From the caller's sessions, in which chance withheld the lessons."""
    replayed: Guarantee
    """From stored tasks that were done with the lessons and without any."""
    unrewarded: int
    """Sessions of the caller that nobody could judge; they are left out."""

    @property
    def holds(self) -> bool:
        """Whether either way shows it."""
        return self.online.holds or self.replayed.holds


def guarantees(rows: Sequence[LedgerRow], key: str, *, delta: float, confidence: float = 0.95) -> Guarantees:
    """Whether the agent is worse with its lessons than without by more than `delta`, from a key's sessions in order."""
    served = [row for row in rows if row.replay_of is None]
    return Guarantees(
        key=key,
        online=not_worse(_online(served), delta=delta, bound=1 / LEAST_CONTROL, confidence=confidence),
        replayed=not_worse(_replayed(rows), delta=delta, confidence=confidence),
        unrewarded=sum(row.reward is None for row in served),
    )


def _replayed(rows: Iterable[LedgerRow]) -> Iterable[Gap]:
    for row in rows:
        pair = row.compared
        if row.replay_of is not None and pair is not None and pair.against == 0 and row.reward is not None:
            yield Gap(value=row.reward - pair.outcome, at=row.at)


def _online(rows: Iterable[LedgerRow]) -> Iterable[Gap]:
    """Reward less the mean before it, weighed by the inverse of the chance of its arm: unbiased for the difference.

    Where no lesson matched the two arms are the same agent, and the reading is 0.
    """
    total, n = 0.5, 1
    for row in rows:
        if row.reward is None:
            continue
        yield Gap(value=_reading(row, total / n), at=row.at)
        total, n = total + row.reward, n + 1


def _reading(row: LedgerRow, centre: float) -> float:
    both = (row.student, row.teacher)
    odds = [chance for recalled in both for _, chance in recalled.propensities]
    if not odds:
        return 0.0
    everything, nothing = math.prod(odds), math.prod(1 - chance for chance in odds)
    if nothing < LEAST_CONTROL or everything < LEAST_CONTROL:
        return -1.0
    if not _withheld(both):
        return ((row.reward or 0.0) - centre) / everything
    return (centre - (row.reward or 0.0)) / nothing if not _shown(both) else 0.0


def _shown(both: tuple[Recalled, Recalled]) -> bool:
    return any(recalled.shown for recalled in both)


def _withheld(both: tuple[Recalled, Recalled]) -> bool:
    return any(recalled.held_out for recalled in both)
