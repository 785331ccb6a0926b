"""The training loop: batches by role, the shared prompt in front computed once, loss on the assistant's tokens only."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from atlas.models.rendering import ChatTemplate
from atlas.models.tokenizer import Tokenizer
from atlas.schema import ToolSpec
from atlas.train.network import Llama
from pocket.sample import Row, Sample, encode


class Corpus(Protocol):
    """Draws samples by role."""

    def buckets(
        self,
    ) -> dict[str, tuple[float, Callable[[list[ToolSpec]], Sample]]]: ...

    def tools(self) -> list[ToolSpec]: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how fast to train."""

    steps: int = 1500
    """Optimizer steps."""
    batch: int = 64
    """Conversations a step, all roles together."""
    muon_lr: float = 0.02
    """Peak step of the matrices (Muon, Jordan et al. 2024)."""
    adam_lr: float = 4e-3
    """Peak step of embeddings and norms (AdamW)."""
    warmup: int = 50
    """Steps of linear warm-up."""
    cooldown: float = 0.7
    """Last share of the steps, in which the rates fall linearly to zero."""
    seed: int = 0
    """Of weights and corpus."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one role: the prefix that they share, then the rest, padded on the right."""

    prefix_P: Tensor
    ids_BT: Tensor
    learn_BT: Tensor


def collate(rows: list[Row]) -> Batch:
    """Cut off the common prefix and pad."""
    shortest = min(int(np.argmax(row.learn > 0)) - 1 for row in rows)
    stacked = np.stack([row.ids[:shortest] for row in rows])
    differs = np.flatnonzero((stacked != stacked[0]).any(axis=0))
    past = int(differs[0]) if len(differs) else shortest
    longest = max(len(row.ids) for row in rows) - past
    ids, learn = (
        np.zeros((len(rows), longest), dtype=np.int64),
        np.zeros((len(rows), longest), dtype=np.float32),
    )
    for at, row in enumerate(rows):
        ids[at, : len(row.ids) - past] = row.ids[past:]
        learn[at, : len(row.ids) - past] = row.learn[past:]
    return Batch(
        torch.from_numpy(rows[0].ids[:past].copy()),
        torch.from_numpy(ids),
        torch.from_numpy(learn),
    )


def batches(
    corpus: Corpus,
    role: str,
    size: int,
    encoder: tuple[Tokenizer, ChatTemplate],
    rng: random.Random,
) -> Iterator[Batch]:
    """Endless batches of one role; rows of like length share a batch, and the same tools are on the table."""
    draw = corpus.buckets()[role][1]
    while True:
        tools = corpus.tools()
        rows = sorted(
            (encode(draw(tools), *encoder) for _ in range(size * 6)),
            key=lambda row: len(row.ids),
        )
        cut = [rows[start : start + size] for start in range(0, len(rows), size)]
        rng.shuffle(cut)
        yield from map(collate, cut)


def loss_of(model: Llama, batch: Batch) -> tuple[Tensor, float]:
    """Weighted sum of the cross-entropies of the tokens to learn, and the sum of the weights."""
    hidden = model(batch.ids_BT[:, :-1], batch.prefix_P)
    weights = batch.learn_BT[:, 1:]
    wanted = weights > 0
    losses = F.cross_entropy(model.logits(hidden[wanted]).float(), batch.ids_BT[:, 1:][wanted], reduction="none")
    return (losses * weights[wanted]).sum(), float(weights.sum())


def train(
    model: Llama,
    corpus: Corpus,
    encoder: tuple[Tokenizer, ChatTemplate],
    recipe: Recipe,
    say: Callable[[str], None],
) -> None:
    """Train in place."""
    matrices = [w for name, w in model.named_parameters() if w.dim() == 2 and "embed" not in name]
    others = [w for name, w in model.named_parameters() if w.dim() != 2 or "embed" in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    )
    rng = random.Random(recipe.seed)
    streams = {
        role: batches(corpus, role, max(1, round(share * recipe.batch)), encoder, rng)
        for role, (share, _) in corpus.buckets().items()
    }
    seen: dict[str, float] = {}
    started = time.process_time()
    for step in range(recipe.steps):
        rate = min(
            1.0,
            (step + 1) / recipe.warmup,
            (recipe.steps - step) / (recipe.steps * recipe.cooldown),
        )
        for optimizer, peak in zip(optimizers, (recipe.muon_lr, recipe.adam_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
        drawn = {role: next(stream) for role, stream in streams.items()}
        total = sum(float(batch.learn_BT[:, 1:].sum()) for batch in drawn.values())
        for role, batch in drawn.items():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss, count = loss_of(model, batch)
            (loss / total).backward()
            mean = loss.item() / count
            seen[role] = mean if role not in seen else 0.95 * seen[role] + 0.05 * mean
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 49 or step == recipe.steps - 1:
            spent = time.process_time() - started
            losses = " ".join(f"{role} {value:.3f}" for role, value in seen.items())
            say(f"step {step + 1} of {recipe.steps}, {spent:.0f} CPU-s: {losses}")
    assert all(math.isfinite(value) for value in seen.values())
