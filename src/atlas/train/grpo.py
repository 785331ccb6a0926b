"""From groups of samples to a weight for each token: group-relative advantages, by the variant of a paper."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from statistics import fmean, pstdev

import numpy as np
import torch
from torch import nn

from atlas.train.config import GrpoConfig
from atlas.train.losses import LossRules
from atlas.train.playing import Group, Rollouts, Tally
from atlas.train.rows import Batch, Row, logprobs
from atlas.train.world import World

_TINY = 1e-4
"""Added to a group's deviation, as the papers do."""


def clip_of(config: GrpoConfig) -> tuple[float, float]:
    """How far the ratio may be below and above 1, by variant unless given."""
    low, high = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4)}.get(config.variant, (0.2, 0.2))
    if config.clip is not None:
        low = high = config.clip
    return low, config.clip_high if config.clip_high is not None else high


def advantages(rewards: Sequence[float | None], variant: str) -> list[float | None]:
    """Each reward against its group's mean, in deviations of the group; masked ones stay masked.

    dr_grpo leaves the deviation out; dapo masks groups of one reward, from which nothing can be learnt.
    Source: arXiv 2402.03300, section 4.1.2; arXiv 2503.20783; arXiv 2503.14476, section 3.2.
    """
    known = [reward for reward in rewards if reward is not None]
    if len(known) < 2:
        return [None] * len(rewards)
    mean, spread = fmean(known), pstdev(known)
    if variant == "dapo" and spread == 0:
        return [None] * len(rewards)
    scale = 1.0 if variant == "dr_grpo" else spread + _TINY
    return [None if reward is None else (reward - mean) / scale for reward in rewards]


class Grpo:
    """Rollouts, advantages, and the divergence from the start model."""

    def __init__(self, rollouts: Rollouts, network: nn.Module, config: GrpoConfig, world: World) -> None:
        """`network` is the start model; a frozen copy of it is the reference."""
        low, high = clip_of(config)
        self.rules = LossRules(clip_low=low, clip_high=high, per_sequence=config.variant == "gspo")
        self.updates = config.updates
        self._rollouts = rollouts
        self._config = config
        self._world = world
        self._reference = copy.deepcopy(network).requires_grad_(False)

    async def batch(self, step: int, network: nn.Module) -> Batch:
        """See `Algorithm.batch`."""
        tally = Tally()
        groups = await self._rollouts.groups(step, network, tally)
        told = [(group, advantages([one.reward for one in group.tried], self._config.variant)) for group in groups]
        plain = [
            (_row(ids, spans, 1.0), advantage)
            for group, worth in told
            for one, advantage in zip(group.tried, worth, strict=True)
            if advantage is not None
            for ids, spans in one.sequences
        ]
        return self._weighted(plain, network, tally.means() | _spread(groups))

    async def close(self) -> None:
        """See `Algorithm.close`."""
        await self._rollouts.close()

    def _weighted(self, plain: Sequence[tuple[Row, float]], network: nn.Module, metrics: dict[str, float]) -> Batch:
        rows = [row for row, _ in plain]
        count = self._world.total(len(rows))
        tokens = self._world.total(sum(int(row.learnt.sum()) for row in rows))
        if count == 0:
            return Batch((), metrics)
        device = torch.device(self._config.device)
        near = logprobs(self._reference, rows, micro_batch=self._config.micro_batch, device=device)
        now = logprobs(network, rows, micro_batch=self._config.micro_batch, device=device)
        old = now if self._rollouts.fresh else near
        made: list[Row] = []
        gaps: list[np.ndarray] = []
        for (row, advantage), reference, present, before in zip(plain, near, now, old, strict=True):
            marked = row.learnt
            weight = advantage * self._normaliser(int(marked.sum()), count, tokens)
            gaps.append((reference - present)[marked])
            if weight == 0 and self._config.kl == 0:
                continue
            made.append(
                Row(
                    ids=row.ids,
                    advantage=np.where(marked, weight, 0).astype(np.float32),
                    keep_near=np.where(marked, self._config.kl / tokens, 0).astype(np.float32),
                    old=before,
                    reference=reference,
                )
            )
        gap = np.concatenate(gaps) if gaps else np.zeros(1, np.float32)
        metrics["kl"] = float(np.mean(np.exp(gap) - gap - 1))
        return Batch(tuple(made), metrics)

    def _normaliser(self, length: int, count: float, tokens: float) -> float:
        """What a token's advantage is divided by: its sequence's length, all tokens, or a constant length."""
        match self._config.variant:
            case "dapo":
                return 1 / tokens
            case "dr_grpo":
                return 1 / (count * self._config.max_new_tokens)
            case _:
                return 1 / (count * max(1, length))


def _row(ids: Sequence[int], spans: Sequence[tuple[int, int]], weight: float) -> Row:
    marked = np.zeros(len(ids), np.float32)
    for start, stop in spans:
        marked[start:stop] = weight
    return Row(ids=np.array(ids, np.int64), imitate=marked)


def _spread(groups: Sequence[Group]) -> dict[str, float]:
    """How many groups say anything."""
    known = [[one.reward for one in group.tried if one.reward is not None] for group in groups]
    telling = [rewards for rewards in known if len(rewards) > 1 and not math.isclose(min(rewards), max(rewards))]
    return {"groups": float(len(groups)), "telling_groups": float(len(telling))}
