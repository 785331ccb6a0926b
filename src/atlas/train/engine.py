"""The training loop. It knows rows with weights per token, and no algorithm by name."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from atlas.schema import Noun
from atlas.schema.errors import TrainError
from atlas.train.checkpoint import State, checkpoints, restore, save_state
from atlas.train.config import OptimizerConfig, RunConfig
from atlas.train.losses import LossRules, loss_of
from atlas.train.rows import Batch
from atlas.train.world import World

LOG = "log.jsonl"
EMPTY_STEPS = 10
"""Batches in a row that may have nothing to learn from before a run gives up."""


class Algorithm(Protocol):
    """What decides from which tokens, and how much, a step learns."""

    rules: LossRules
    """Constants of the loss."""
    updates: int
    """Optimizer steps on one batch."""

    async def batch(self, step: int, network: nn.Module) -> Batch:
        """This process's rows of a step. It depends on the run's seed, the step and the weights alone."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class StepLog(Noun):
    """One step of a run, as `log.jsonl` keeps it."""

    step: int
    """1 is the first."""
    loss: float
    """Sum of all components."""
    lr: float
    """Rate of this step."""
    grad_norm: float
    """Norm of all gradients before they were scaled down."""
    tokens: int
    """Tokens that went through the model."""
    learnt: int
    """Of these, those that had a weight."""
    metrics: dict[str, float]
    """Components of the loss, and what the algorithm measured."""
    seconds: float
    """Wall-clock time of the step, rollouts included."""


@dataclass
class Engine:
    """One run: a model, an algorithm, a folder."""

    network: nn.Module
    algorithm: Algorithm
    config: RunConfig
    folder: Path
    world: World = field(default_factory=World)
    on_step: Callable[[StepLog], None] = lambda told: None

    def __post_init__(self) -> None:
        self.device = torch.device(self.config.device)
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        rules = self.config.optimizer
        self.optimizer = torch.optim.AdamW(weights, lr=rules.lr, betas=rules.betas, weight_decay=rules.weight_decay)
        self._told = self.config.model_dump(mode="json")
        self._empty = 0

    def resume(self) -> int:
        """Go back to the newest checkpoint, if there is one; returns the steps that are done.

        Raises:
            TrainError: it is damaged, or of another configuration.
        """
        found = checkpoints(self.folder)
        done = restore(found[-1], self.network, self.optimizer, self._told) if found else 0
        if self.world.rank == 0:
            _cut_log(self.folder / LOG, done)
        return done

    async def run(self, done: int = 0) -> None:
        """Train from step `done` to the last one. Nothing of a step is kept unless all of it is finite.

        Raises:
            TrainError: the loss or a gradient is not finite, nothing is left to learn from, or the disk is full.
        """
        for step in range(done, self.config.steps):
            started = time.perf_counter()
            batch = await self.algorithm.batch(step, self.network)
            told = [self._update(step, batch) for _ in range(self.algorithm.updates)][-1]
            if self.world.rank == 0:
                log = told.model_copy(update={"seconds": round(time.perf_counter() - started, 4)})
                _append(self.folder / LOG, log)
                self.on_step(log)
            last = step + 1 == self.config.steps
            if self.world.rank == 0 and (last or (step + 1) % self.config.checkpoint_every == 0):
                state = State(step=step + 1, config=self._told, sha256={})
                save_state(self.folder, self.network, self.optimizer, state, keep=self.config.keep_checkpoints)
            self.world.wait()

    def _update(self, step: int, batch: Batch) -> StepLog:
        """One optimizer step."""
        rate = lr_at(step, self.config.steps, self.config.optimizer)
        self._count_empty(self.world.total(len(batch.rows)) == 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss, parts = 0.0, dict.fromkeys(batch.metrics, 0.0)
        for start in range(0, len(batch.rows), self.config.micro_batch):
            some = batch.rows[start : start + self.config.micro_batch]
            value, told = loss_of(self.network, some, self.algorithm.rules, self.device)
            value.backward()
            loss += float(value.detach())
            for name, part in told.items():
                share = len(some) / len(batch.rows) if name == "clipped" else 1.0
                parts[name] = parts.get(name, 0.0) + part * share
        self.world.add_gradients(self.network)
        loss = self.world.total(loss)
        norm = self._clip()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainError(
                f"Step {step + 1} has loss {loss} and gradient norm {norm}; no weight was changed by it.",
                "Lower optimizer.lr or look at the data, and resume from the last checkpoint.",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self._empty == 0:
            self.optimizer.step()
        return StepLog(
            step=step + 1,
            loss=loss,
            lr=rate,
            grad_norm=norm,
            tokens=sum(len(row.ids) for row in batch.rows),
            learnt=sum(int(row.learnt.sum()) for row in batch.rows),
            metrics=parts | batch.metrics,
            seconds=0.0,
        )

    def _clip(self) -> float:
        weights = [weight for weight in self.network.parameters() if weight.grad is not None]
        if not weights:
            return 0.0
        return float(nn.utils.clip_grad_norm_(weights, self.config.optimizer.max_grad_norm))

    def _count_empty(self, empty: bool) -> None:
        self._empty = self._empty + 1 if empty else 0
        if self._empty >= EMPTY_STEPS:
            raise TrainError(
                f"{EMPTY_STEPS} steps in a row had nothing to learn from: equal rewards in each group, or none.",
                "Use harder or easier tasks, a higher temperature, or a start model that sometimes succeeds.",
            )


def lr_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """The rate of a step, counted from 0: linear warm-up, then as the schedule says."""
    up = min(1.0, (step + 1) / (config.warmup + 1))
    past = max(0.0, (step - config.warmup) / max(1, steps - config.warmup))
    down = {"constant": 1.0, "linear": 1.0 - past, "cosine": 0.5 * (1 + math.cos(math.pi * past))}
    return config.lr * up * down[config.schedule]


def read_log(folder: Path) -> list[StepLog]:
    """The steps of a run, in order; a last line that was cut off by a crash is left out."""
    path = folder / LOG
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [StepLog.model_validate_json(line) for line in lines if _whole(line)]


def _whole(line: str) -> bool:
    try:
        parsed: Any = json.loads(line)
    except ValueError:
        return False
    return type(parsed) is dict


def _append(path: Path, told: StepLog) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(told.model_dump_json() + "\n")


def _cut_log(path: Path, done: int) -> None:
    """Forget the steps that the checkpoint does not know of: they are done again."""
    kept = [told for told in read_log(path.parent) if told.step <= done]
    path.write_text("".join(told.model_dump_json() + "\n" for told in kept), "utf-8")
