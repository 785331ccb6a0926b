"""The engine: what it computes, what it keeps, and that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_kit import Traces

torch = pytest.importorskip("torch", reason="torch is not installed: training is not tested")

from atlas.config.llm import LLMConfig  # noqa: E402
from atlas.models.local import open_local  # noqa: E402
from atlas.models.safetensors import read_safetensors  # noqa: E402
from atlas.schema import Request  # noqa: E402
from atlas.schema.errors import ConfigError, TrainError  # noqa: E402
from atlas.train import Codec, Order, SftConfig, checkpoint_folder, load_train_config, read_examples, train  # noqa: E402
from atlas.train.checkpoint import OPTIMIZER, checkpoints, export_model  # noqa: E402
from atlas.train.config import RunConfig  # noqa: E402
from atlas.train.engine import Engine, lr_at, read_log  # noqa: E402
from atlas.train.losses import LossRules, loss_of  # noqa: E402
from atlas.train.network import add_lora, load_network  # noqa: E402
from atlas.train.rows import Batch, Row, logprobs  # noqa: E402
from atlas.train.sft import imitation_row, packed  # noqa: E402
from atlas.train.source import DataConfig  # noqa: E402

CPU = torch.device("cpu")
SMALL = ("steps=4", "batch_size=4", "checkpoint_every=2", "threads=1", "data.eval_ratio=0")


def config(*more: str) -> SftConfig:
    found = load_train_config("sft", None, (*SMALL, *more))
    assert isinstance(found, SftConfig)
    return found


def order(traces: Traces, output: Path, *more: str, resume: bool = False) -> Order:
    return Order(config(*more), str(traces.file), output, resume=resume)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return read_safetensors(folder / "model.safetensors")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def curve(folder: Path) -> list[dict[str, Any]]:
    return [told.model_dump(exclude={"seconds"}) for told in read_log(folder)]


def loss(network: Any, rows: list[Row]) -> float:
    return float(loss_of(network, rows, LossRules(), CPU)[0].detach())


async def rows_of(traces: Traces, n: int) -> list[Row]:
    read = await read_examples(traces.file, DataConfig(), role="student", take="imitate")
    codec = Codec.load(checkpoint_folder("pocket-student"))
    return [imitation_row(codec.rows(example)[0], 1.0) for example in read.examples[:n]]


async def test_sft_lowers_the_loss_and_leaves_the_start_model_alone(desk_traces: Traces, tmp_path: Path) -> None:
    before = weights(checkpoint_folder("pocket-student"))
    told = await train(order(desk_traces, tmp_path / "run", "steps=12", "optimizer.lr=3e-4"))
    losses = [step.loss for step in read_log(tmp_path / "run")]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert told.status == "succeeded"
    assert len(told.sessions) > 10
    assert same(before, weights(checkpoint_folder("pocket-student")))
    assert not same(before, weights(tmp_path / "run" / "final"))


async def test_the_serving_model_computes_what_the_trainer_computes(desk_traces: Traces, tmp_path: Path) -> None:
    """Invariant 3: after training, the server's log-probability of a reply is the trainer's."""
    await train(order(desk_traces, tmp_path / "run", "lora.rank=4"))
    final = tmp_path / "run" / "final"
    network = load_network(final)
    served = open_local(LLMConfig(provider="local", model="final", temperature=0.0), tmp_path / "run")
    read = await read_examples(desk_traces.file, DataConfig(), role="student", take="imitate")
    codec = Codec.load(final)
    for example in read.examples[:5]:
        completion = await served.complete(Request(messages=example.prompt, tools=example.tools), timeout_s=30)
        prompt = codec.prompt(example.prompt, example.tools)
        ids = np.array([*prompt, *completion.token_ids])
        learn = np.array([0.0] * len(prompt) + [1.0] * len(completion.token_ids), np.float32)
        (logp,) = logprobs(network, [Row(ids=ids, imitate=learn)], micro_batch=1, device=CPU)
        assert completion.logprob == pytest.approx(float(logp.sum()), abs=1e-3)
    await served.close()


async def test_a_run_killed_by_force_goes_on_bit_by_bit(desk_traces: Traces, tmp_path: Path) -> None:
    """Invariant 12: kill -9 between checkpoints, resume, and loss curve and weights are those of a run left alone."""
    more = ("steps=14", "checkpoint_every=3")
    await train(order(desk_traces, tmp_path / "whole", *more))
    command = [sys.executable, "-m", "atlas", "train", "sft", "--from", str(desk_traces.file)]
    command += [part for assignment in (*SMALL, *more) for part in ("--set", assignment)]
    command += ["--output", str(tmp_path / "killed"), "--quiet"]
    _kill_after_steps(command, tmp_path / "killed", 4)
    assert 4 <= len(read_log(tmp_path / "killed")) < 14
    await train(order(desk_traces, tmp_path / "killed", *more, resume=True))
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert same(weights(tmp_path / "killed" / "final"), weights(tmp_path / "whole" / "final"))


def _kill_after_steps(command: list[str], folder: Path, steps: int) -> None:
    running = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONWARNINGS": "error"})
    try:
        deadline = time.monotonic() + 60
        while len(read_log(folder)) < steps and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert running.poll() is None, running.stderr.read() if running.stderr else ""
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()


async def test_checkpoints_are_kept_few_and_in_safetensors_only(desk_traces: Traces, tmp_path: Path) -> None:
    await train(order(desk_traces, tmp_path / "run", "checkpoint_every=1"))
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000003", "step-00000004"]
    files = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert files == {".safetensors", ".json", ".jsonl"}
    manifest = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert len(manifest["data"]) == len(manifest["base_sha256"]) == len(manifest["checkpoint_sha256"]) == 64
    assert manifest["versions"]["torch"] == torch.__version__


class Broken:
    """An algorithm whose third batch is not finite."""

    rules = LossRules()
    updates = 1

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    async def batch(self, step: int, network: object) -> Batch:
        row = self._rows[step]
        weight = row.imitate if step < 2 else np.where(row.imitate == 1, np.inf, 0).astype(np.float32)  # pyright: ignore
        return Batch((Row(ids=row.ids, imitate=weight),))


async def test_a_loss_that_is_not_finite_stops_before_the_step(desk_traces: Traces, tmp_path: Path) -> None:
    network = load_network(checkpoint_folder("pocket-student"))
    rows = await rows_of(desk_traces, 4)
    engine = Engine(network, Broken(rows), config("checkpoint_every=1"), tmp_path)
    with pytest.raises(TrainError, match="Step 3 has loss inf"):
        await engine.run()
    assert all(torch.isfinite(weight).all() for weight in network.parameters())
    again = Engine(
        load_network(checkpoint_folder("pocket-student")), Broken(rows), config("checkpoint_every=1"), tmp_path
    )
    assert again.resume() == 2
    for one, other in zip(again.network.parameters(), network.parameters(), strict=True):
        assert torch.equal(one, other)


async def test_a_full_disk_keeps_the_checkpoint_before(
    desk_traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import atlas.train.checkpoint as module

    real, calls = module._write_bytes, iter(range(100))

    def fail(path: Path, raw: bytes) -> None:
        if next(calls) >= 4:  # The first checkpoint has three files.
            path.write_bytes(raw[:10])
            raise OSError(28, "No space left on device")
        real(path, raw)

    monkeypatch.setattr(module, "_write_bytes", fail)
    with pytest.raises(TrainError, match="No space left"):
        await train(order(desk_traces, tmp_path / "run"))
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000002"]
    assert not list((tmp_path / "run").rglob("*.part"))
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"] == "failed"
    monkeypatch.undo()
    assert (await train(order(desk_traces, tmp_path / "run", resume=True))).status == "succeeded"


async def test_a_damaged_checkpoint_is_refused_and_named(desk_traces: Traces, tmp_path: Path) -> None:
    await train(order(desk_traces, tmp_path / "run"))
    newest = checkpoints(tmp_path / "run")[-1]
    raw = bytearray((newest / OPTIMIZER).read_bytes())
    raw[len(raw) // 2] ^= 1
    (newest / OPTIMIZER).write_bytes(bytes(raw))
    with pytest.raises(TrainError, match=r"optimizer\.safetensors is damaged"):
        await train(order(desk_traces, tmp_path / "run", resume=True))


async def test_a_folder_belongs_to_one_run(desk_traces: Traces, tmp_path: Path) -> None:
    await train(order(desk_traces, tmp_path / "run"))
    with pytest.raises(ConfigError, match="holds a run already"):
        await train(order(desk_traces, tmp_path / "run"))
    with pytest.raises(TrainError, match="another seed"):
        await train(order(desk_traces, tmp_path / "run", "seed=2", resume=True))
    with pytest.raises(ConfigError, match="no run"):
        await train(order(desk_traces, tmp_path / "nothing", resume=True))


async def test_packing_changes_the_padding_and_not_the_loss(desk_traces: Traces) -> None:
    network = load_network(checkpoint_folder("pocket-student"))
    rows = await rows_of(desk_traces, 7)
    together = packed(rows, 1024)
    assert len(together) < len(rows)
    assert loss(network, together) == pytest.approx(loss(network, rows), rel=1e-5)


async def test_small_batches_through_the_model_change_nothing(desk_traces: Traces, tmp_path: Path) -> None:
    for size in (1, 4):
        await train(order(desk_traces, tmp_path / str(size), f"micro_batch={size}", "steps=2"))
    one, other = [curve(tmp_path / str(size)) for size in (1, 4)]
    assert [step["loss"] for step in one] == pytest.approx([step["loss"] for step in other], rel=1e-5)


async def test_adapters_start_as_nothing_and_are_merged(desk_traces: Traces, tmp_path: Path) -> None:
    start = checkpoint_folder("pocket-student")
    rows = await rows_of(desk_traces, 2)
    network = load_network(start)
    plain = loss(network, rows)
    assert add_lora(network, rank=2, alpha=4.0, targets=("q_proj", "down_proj")) == 8
    assert loss(network, rows) == plain
    trainable = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    assert trainable < 0.02 * sum(weight.numel() for weight in network.parameters())
    with torch.no_grad():
        network.layers[0].q_proj.up.add_(0.1)
    export_model(network, start, tmp_path / "merged")
    assert loss(load_network(tmp_path / "merged"), rows) == pytest.approx(loss(network, rows), rel=1e-5)
    assert loss(network, rows) != plain


def test_the_rate_rises_and_falls() -> None:
    rules = RunConfig().optimizer.model_copy(update={"lr": 1.0, "warmup": 4})
    rates = {
        name: [lr_at(step, 20, rules.model_copy(update={"schedule": name})) for step in range(20)]
        for name in ("constant", "linear", "cosine")
    }
    assert rates["constant"][4:] == [1.0] * 16
    for name in ("linear", "cosine"):
        assert rates[name][:5] == [0.2, 0.4, pytest.approx(0.6), 0.8, 1.0]
        assert rates[name][4:] == sorted(rates[name][4:], reverse=True)
        assert 0 < rates[name][-1] < 0.1


async def test_training_data_that_changed_meanwhile_is_not_mixed(desk_traces: Traces, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    lines = desk_traces.file.read_text("utf-8").splitlines(keepends=True)
    mine.write_text("".join(lines), "utf-8")
    first = Order(config(), str(mine), tmp_path / "run")
    await train(first)
    mine.write_text("".join(lines[:-3]), "utf-8")
    with pytest.raises(TrainError, match="other examples"):
        await train(Order(config(), str(mine), tmp_path / "run", resume=True))


def test_a_password_is_not_written_down(tmp_path: Path) -> None:
    from atlas.train.run import redacted

    assert redacted("postgresql://me:secret@db:5432/x") == "postgresql://me:***@db:5432/x"
    assert redacted("traces.jsonl") == "traces.jsonl"


async def test_two_processes_train_what_one_trains(desk_traces: Traces, tmp_path: Path) -> None:
    assignments = (*SMALL, "steps=2", "optimizer.lr=1e-4")
    await train(order(desk_traces, tmp_path / "one", *assignments[len(SMALL) :]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "atlas"]
    command += ["train", "sft", "--from", str(desk_traces.file), "--output", str(tmp_path / "two"), "--quiet"]
    command += [part for assignment in assignments for part in ("--set", assignment)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [step.loss for step in read_log(tmp_path / "two")] == pytest.approx(
        [step.loss for step in read_log(tmp_path / "one")], rel=1e-5
    )
    one, two = [weights(tmp_path / name / "final") for name in ("one", "two")]
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 2e-4
    assert json.loads((tmp_path / "two" / "run.json").read_text("utf-8"))["processes"] == 2
