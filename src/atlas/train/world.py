"""One process or many: what each of them does, and how their gradients become one."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, as `torchrun` starts them; one without it."""

    rank: int = 0
    """Which one this is; 0 alone writes."""
    size: int = 1
    """How many there are."""

    @classmethod
    def join(cls, device: torch.device) -> World:
        """Meet the other processes, where `torchrun` has started any."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank=dist.get_rank(), size=size)

    def mine(self, items: Sequence[T]) -> list[T]:
        """This process's part of something all processes know."""
        return list(items[self.rank :: self.size])

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(told)
        return float(told)

    def add_gradients(self, network: nn.Module) -> None:
        """Make every process's gradients the sum over all; a process without rows adds nothing."""
        if self.size == 1:
            return
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        flat = torch.cat([torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in weights])
        dist.all_reduce(flat)
        for weight, piece in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.grad = piece.view_as(weight)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Part from the others."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
