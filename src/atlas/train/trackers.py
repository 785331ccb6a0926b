"""Metrics to TensorBoard or Weights & Biases, where a run asks for it; `log.jsonl` is written in any case."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlas.schema.errors import ConfigError
from atlas.train.config import RunConfig

Log = Callable[[int, dict[str, float]], None]
"""Takes a step and its metrics."""


def open_tracker(config: RunConfig, folder: Path) -> tuple[Log, Callable[[], None]]:
    """Where metrics go, and what closes it.

    Raises:
        ConfigError: the package is not installed.
    """
    if config.tracker == "none":
        return (lambda step, metrics: None), (lambda: None)
    if find_spec(config.tracker) is None:
        raise ConfigError(f"tracker={config.tracker} needs a package that is missing.", f"pip install {config.tracker}")
    return _tensorboard(folder) if config.tracker == "tensorboard" else _wandb(config, folder)


def _tensorboard(folder: Path) -> tuple[Log, Callable[[], None]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def _wandb(config: RunConfig, folder: Path) -> tuple[Log, Callable[[], None]]:
    import wandb

    run: Any = wandb.init(project=config.project, dir=str(folder), config=config.model_dump(mode="json"))

    def log(step: int, metrics: dict[str, float]) -> None:
        run.log(metrics, step=step)

    return log, run.finish
