"""Imitation: cross-entropy on what the role itself wrote, and on nothing else."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from torch import nn

from atlas.train.config import SftConfig
from atlas.train.encoding import Sample
from atlas.train.losses import LossRules
from atlas.train.rows import Batch, Row
from atlas.train.world import World


class Sft:
    """Draws batches in an order that follows from seed and step alone, so that a resumed run sees the same ones."""

    def __init__(self, samples: Sequence[Sample], config: SftConfig, world: World) -> None:
        self.rules = LossRules()
        self.updates = 1
        self._samples = samples
        self._config = config
        self._world = world

    async def batch(self, step: int, network: nn.Module) -> Batch:
        """See `Algorithm.batch`. The mean is over the learnt tokens of the whole batch."""
        chosen = drawn(self._samples, step, self._config.batch_size, self._config.seed)
        total = sum(sample.learnt for sample in chosen)
        rows = [imitation_row(sample, 1 / total) for sample in self._world.mine(chosen)]
        return Batch(tuple(packed(rows, self._config.max_tokens) if self._config.pack else rows))

    async def close(self) -> None:
        """See `Algorithm.close`."""


def drawn(samples: Sequence[Sample], step: int, size: int, seed: int) -> list[Sample]:
    """The samples of a step: epoch after epoch, each in its own order, with no sample twice in an epoch."""
    return [samples[at] for at in order_of(len(samples), step, size, seed)]


def order_of(count: int, step: int, size: int, seed: int) -> list[int]:
    """Which of so many things a step takes."""
    places = (divmod(place, count) for place in range(step * size, (step + 1) * size))
    return [_order(count, f"{seed}/{epoch}")[at] for epoch, at in places]


@lru_cache(maxsize=2)
def _order(count: int, seed: str) -> tuple[int, ...]:
    """A permutation."""
    order = list(range(count))
    random.Random(f"order/{seed}").shuffle(order)
    return tuple(order)


def marked(sample: Sample, weight: float) -> np.ndarray:
    """A weight at each learnt token of a sample."""
    weights = np.zeros(len(sample.ids), np.float32)
    for start, stop in sample.learn:
        weights[start:stop] = weight
    return weights


def imitation_row(sample: Sample, weight: float) -> Row:
    """A row whose learnt tokens have this weight."""
    return Row(ids=np.array(sample.ids, np.int64), imitate=marked(sample, weight))


def packed(rows: Sequence[Row], longest: int) -> list[Row]:
    """Rows put together, longest first, each into the first row with room; none sees another."""
    bins: list[list[Row]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: len(row.ids), reverse=True):
        fitting = next((number for number, left in enumerate(room) if left >= len(row.ids)), None)
        if fitting is None:
            bins.append([])
            room.append(longest)
            fitting = len(bins) - 1
        bins[fitting].append(row)
        room[fitting] -= len(row.ids)
    return [_joined(together) for together in bins]


def _joined(rows: Sequence[Row]) -> Row:
    weights = [np.zeros(len(row.ids), np.float32) if row.imitate is None else row.imitate for row in rows]
    return Row(
        ids=np.concatenate([row.ids for row in rows]),
        imitate=np.concatenate(weights),
        parts=np.repeat(np.arange(len(rows)), [len(row.ids) for row in rows]),
    )
