"""Rows with a weight per token for each component of the loss: all that an algorithm tells the engine.

Axes in names: B rows, T time, N learnt tokens of all rows in order, V vocabulary, K outcomes that a teacher told.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Target:
    """A teacher's distribution over the next token, at the learnt tokens of one row."""

    logp_NK: Tensor
    """Natural log-probabilities; each row sums to 1 or less, the rest is one more outcome."""
    ids_NK: Tensor | None = None
    """Which tokens they are of; None where K is the whole vocabulary."""
    spans: tuple[Span, ...] | None = None
    """Pieces of equal text, where the teacher cuts it into other tokens; then `logp_NK` has a row for each of them."""


class Span(NamedTuple):
    """A piece of text that begins and ends a token in both tokenizers."""

    start: int
    """Its first token among the row's learnt ones."""
    length: int
    """How many of the student's tokens it has."""
    teacher_length: int
    """How many of the teacher's."""
    logp: float
    """The teacher's log-probability of the whole piece."""

    @property
    def single(self) -> bool:
        """Whether it is one token for both, so that whole distributions can be compared."""
        return self.length == self.teacher_length == 1


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence and what is learnt from each of its tokens. Arrays are as long as `ids`, zero where nothing is."""

    ids: np.ndarray
    """Token ids."""
    imitate: np.ndarray | None = None
    """Weight of the token's cross-entropy."""
    advantage: np.ndarray | None = None
    """Weight of the token's (clipped) policy gradient: the advantage times the normaliser of the variant."""
    keep_near: np.ndarray | None = None
    """Weight of the token's divergence from the reference model."""
    distil: np.ndarray | None = None
    """Weight of the token's divergence from the teacher's distribution."""
    old: np.ndarray | None = None
    """Log-probability of the token when it was sampled; None: as it is now."""
    reference: np.ndarray | None = None
    """Log-probability of the token under the reference model."""
    target: Target | None = None
    """The teacher's distribution at the tokens with a `distil` weight."""
    parts: np.ndarray | None = None
    """Which conversation each token belongs to, where several share the row."""

    @property
    def learnt(self) -> np.ndarray:
        """Where anything is learnt; never at the first token, which nothing predicts."""
        weights = (self.imitate, self.advantage, self.keep_near, self.distil)
        marked = np.zeros(len(self.ids), dtype=bool)
        for weight in weights:
            if weight is not None:
                marked |= weight != 0
        marked[0] = False
        return marked


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimizer step learns from."""

    rows: tuple[Row, ...]
    """Sequences; their weights add up over all processes of the run."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the algorithm measured while making them."""


@dataclass(frozen=True, slots=True)
class Padded:
    """Rows as tensors, padded on the right: with causal attention no learnt token sees the padding."""

    ids_BT: Tensor
    learnt_BT: Tensor
    parts_BT: Tensor | None


def pad(rows: Sequence[Row], device: torch.device) -> Padded:
    """Stack rows; `learnt` marks the predicting position, one before the learnt token."""
    longest = max(len(row.ids) for row in rows)
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    learnt = np.zeros((len(rows), longest), dtype=bool)
    parts = np.full((len(rows), longest), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
        learnt[number, : len(row.ids) - 1] = row.learnt[1:]
        parts[number, : len(row.ids)] = 0 if row.parts is None else row.parts
    apart = any(row.parts is not None for row in rows)
    return Padded(
        torch.from_numpy(ids).to(device),
        torch.from_numpy(learnt).to(device),
        torch.from_numpy(parts).to(device) if apart else None,
    )


def at_learnt(rows: Sequence[Row], name: str, device: torch.device) -> Tensor | None:
    """One component at the learnt tokens of all rows, in order; None where no row has it."""
    found = [getattr(row, name) for row in rows]
    if all(values is None for values in found):
        return None
    parts = [
        (np.zeros(len(row.ids), np.float32) if values is None else values)[row.learnt]
        for row, values in zip(rows, found, strict=True)
    ]
    return torch.from_numpy(np.concatenate(parts).astype(np.float32)).to(device)


def learnt_logits(network: torch.nn.Module, padded: Padded) -> Tensor:
    """Scores (N, V) of what comes at each learnt token, in single precision."""
    hidden = network(padded.ids_BT, parts_BT=padded.parts_BT)
    return network.logits(hidden[padded.learnt_BT]).float()  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def logprobs(
    network: torch.nn.Module, rows: Sequence[Row], *, micro_batch: int, device: torch.device
) -> list[np.ndarray]:
    """Log-probability of each learnt token of each row under a model; zero elsewhere."""
    said: list[np.ndarray] = []
    for start in range(0, len(rows), micro_batch):
        some = rows[start : start + micro_batch]
        logp = learnt_logits(network, pad(some, device)).log_softmax(-1)
        wanted = torch.from_numpy(np.concatenate([row.ids[row.learnt] for row in some])).to(device)
        flat = logp.gather(-1, wanted[:, None])[:, 0].cpu().numpy()
        at = 0
        for row in some:
            values = np.zeros(len(row.ids), np.float32)
            count = int(row.learnt.sum())
            values[row.learnt] = flat[at : at + count]
            said.append(values)
            at += count
    return said
