"""A run with rollouts, cut off behind a checkpoint, goes on as if nothing had happened: weights, losses, samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_kit import Traces, write_loop

pytest.importorskip("torch", reason="torch is not installed: training is not tested")

from atlas.models.safetensors import read_safetensors
from atlas.train import Order, load_train_config, train
from atlas.train.checkpoint import checkpoints
from atlas.train.engine import read_log

SHARED = ("steps=4", "checkpoint_every=2", "threads=1", "data.eval_ratio=0", "max_new_tokens=32", "optimizer.lr=1e-3")
KINDS: list[tuple[Any, tuple[str, ...]]] = [
    ("gkd", ("teacher_sees=guidance", "lambda=0.6", "batch_size=4")),
    ("grpo", ("role=teacher", "model=pocket-teacher", "loop=loop.yaml", "questions=3", "group=3")),
    ("grpo", ("loop=loop.yaml", "questions=2", "group=3", "updates=2", "variant=dapo")),
]


@pytest.mark.parametrize(("method", "words"), KINDS, ids=["gkd", "teacher", "student"])
async def test_a_run_cut_off_goes_on_bit_by_bit(
    desk_traces: Traces, tmp_path: Path, method: Any, words: tuple[str, ...]
) -> None:
    write_loop(tmp_path)
    config = load_train_config(method, None, (*SHARED, *words))
    whole = Order(config, str(desk_traces.file), tmp_path / "whole", base=tmp_path)
    await train(whole)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(checkpoints(tmp_path / "cut")[-1])
    shutil.rmtree(tmp_path / "cut" / "final")
    with (tmp_path / "cut" / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')  # Where a crash had cut a line.
    await train(Order(config, str(desk_traces.file), tmp_path / "cut", base=tmp_path, resume=True))
    curves = [[told.model_dump(exclude={"seconds"}) for told in read_log(tmp_path / name)] for name in ("whole", "cut")]
    assert curves[0] == curves[1]
    one, other = [read_safetensors(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "cut")]
    assert all(np.array_equal(one[name], other[name]) for name in one)
