"""Our trainers against the bare library on the same rows, and the methods against each other.

python benchmarks/training.py            full size
python benchmarks/training.py --quick    a minute

The library's rows need `pip install trl transformers accelerate datasets`; without them they are left out, and that is
said. Time is process CPU time on one thread. Success is on held-out tasks of the desk, the student alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from atlas.evaluate.demo import demo_config
from atlas.evaluate.desk import Desk
from atlas.evaluate.stream import settled
from atlas.evidence import wilson
from atlas.runtime import open_runtime
from atlas.train import Order, Prepared, load_train_config, prepare, train
from atlas.train.evaluation import play_tasks, recorded_loss, seated

LIBRARY = ("trl", "transformers", "accelerate", "datasets")
BATCH = 16
RATE = 3e-4


async def record(folder: Path, n: int) -> None:
    """Paired sessions of training tasks."""
    config = demo_config(learn=False)
    async with await open_runtime(config, folder=folder) as runtime:
        for made in Desk(split="train", exponent=0.3).tasks(0, n):
            await settled(runtime, made.task, lane="paired")
    plain = config.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    (folder / "atlas.yaml").write_text(json.dumps(plain | {"storage": None}), "utf-8")


def order(folder: Path, method: Any, name: str, *assignments: str) -> Order:
    """A run of ours."""
    shared = ("threads=1", "data.reviews=[pending]", f"batch_size={BATCH}", "checkpoint_every=100000")
    config = load_train_config(method, None, (*shared, *assignments))
    return Order(config, str(folder), folder / "runs" / name, base=folder)


def held_out_loss(checkpoint: Path, prepared: Prepared) -> float:
    """Mean cross-entropy of the recorded replies to questions that were not trained on, in nats per token."""
    return recorded_loss(replace(prepared, folder=checkpoint))


def ours(folder: Path, prepared: Prepared, steps: int, name: str) -> dict[str, float]:
    """SFT by our engine, from loading the model to writing it."""
    import torch

    from atlas.train.checkpoint import export_model
    from atlas.train.engine import Engine
    from atlas.train.network import load_network
    from atlas.train.sft import Sft
    from atlas.train.world import World

    torch.set_num_threads(1)
    rates = (f"optimizer.lr={RATE}", "optimizer.warmup=0", "optimizer.schedule=constant", "micro_batch=16")
    config = order(folder, "sft", name, f"steps={steps}", *rates).config
    run = folder / name
    run.mkdir()
    started = time.process_time()
    network = load_network(prepared.folder)
    asyncio.run(Engine(network, Sft(prepared.encoded.samples, config, World()), config, run).run())
    export_model(network, prepared.folder, run / "final")
    return {"cpu": time.process_time() - started, "loss": held_out_loss(run / "final", prepared)}


def library(folder: Path, prepared: Prepared, steps: int, name: str) -> dict[str, float]:
    """The same rows, the same number of steps, by the library's SFTTrainer."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(1)
    rows = [
        {
            "input_ids": list(sample.ids),
            "labels": [
                token if any(start <= at < stop for start, stop in sample.learn) else -100
                for at, token in enumerate(sample.ids)
            ],
        }
        for sample in prepared.encoded.samples
    ]
    started = time.process_time()
    model = AutoModelForCausalLM.from_pretrained(prepared.folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(prepared.folder)
    settings = SFTConfig(
        output_dir=str(folder / name),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        adam_beta2=0.98,
        logging_steps=10_000,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        disable_tqdm=True,
    )
    trainer = SFTTrainer(model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(folder / name / "final"))
    cpu = time.process_time() - started
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name / "final" / file).write_bytes((prepared.folder / file).read_bytes())
    return {"cpu": cpu, "loss": held_out_loss(folder / name / "final", prepared)}


def import_cpu(statement: str) -> float:
    """CPU seconds of a fresh process that imports something."""
    code = f"import time\n{statement}\nprint(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def engines(folder: Path, sizes: argparse.Namespace) -> list[str]:
    """The table of engines."""
    prepared = asyncio.run(prepare(order(folder, "sft", "plan")))
    tokens = fmean(len(sample.ids) for sample in prepared.encoded.samples) * BATCH * sizes.steps
    rows = [
        "| engine | tokens per CPU second | held-out loss after the same steps | CPU s to import |",
        "|---|---|---|---|",
    ]
    known: list[tuple[str, Any, str]] = [("ours", ours, "import atlas.train.run, atlas.train.engine")]
    missing = [name for name in LIBRARY if find_spec(name) is None]
    if not missing:
        known.append(("TRL SFTTrainer", library, "from trl import SFTTrainer"))
    for name, work, statement in known:
        told = [work(folder, prepared, sizes.steps, f"{name.split()[0]}-{number}") for number in range(sizes.repeat)]
        rate, loss = max(tokens / one["cpu"] for one in told), fmean(one["loss"] for one in told)
        rows.append(f"| {name} | {rate:,.0f} | {loss:.4f} | {import_cpu(statement):.1f} |")
    rows.append(f"\n{sizes.steps} steps of {BATCH} rows, best of {sizes.repeat}, loading and saving included.")
    if missing:
        rows.append(f"The library is left out: {', '.join(missing)} not installed.")
    return rows


METHODS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("SFT on approved replies", "sft", ("optimizer.lr=3e-4",)),
    ("GKD, off-policy, teacher sees the guidance", "gkd", ("teacher_sees=guidance", "lambda=0", "optimizer.lr=1e-3")),
    ("GKD, on-policy, teacher sees the guidance", "gkd", ("teacher_sees=guidance", "lambda=1", "optimizer.lr=1e-3")),
    ("GRPO from session rewards", "grpo", ("loop=atlas.yaml", "questions=4", "group=4", "optimizer.lr=3e-4")),
    ("GRPO, offline groups", "grpo", ("rollouts=offline", "questions=8", "optimizer.lr=3e-4")),
)


async def success(folder: Path, model: str | None, n: int) -> list[float]:
    """The student alone on held-out tasks."""
    config = demo_config(learn=False)
    tasks = [made.task for made in Desk(exponent=0.3).tasks(1, n)]
    played = await play_tasks(seated(config, "student", model) if model else config, folder, tasks, lane="auto")
    return [one.value for one in played if one.value is not None]


def methods(folder: Path, sizes: argparse.Namespace) -> list[str]:
    """The table of methods, negatives included."""
    rows = ["| student alone, held-out tasks | success (95 %) | by seed | CPU s a run |", "|---|---|---|---|"]
    before = asyncio.run(success(folder, None, sizes.tasks))
    rows.append(_row("before training", [before], math.nan))
    for number, (name, method, assignments) in enumerate(METHODS):
        found: list[list[float]] = []
        started = time.process_time()
        for seed in range(sizes.seeds):
            asked = order(
                folder, method, f"m{number}-{seed}", *assignments, f"steps={sizes.method_steps}", f"seed={seed}"
            )
            asyncio.run(train(asked))
            found.append(asyncio.run(success(folder, f"runs/m{number}-{seed}/final", sizes.tasks)))
        rows.append(_row(name, found, (time.process_time() - started) / sizes.seeds))
    rows.append(
        f"\n{sizes.method_steps} steps each, {sizes.tasks} tasks, {sizes.seeds} seeds; evaluation is in the time."
    )
    return rows


def _row(name: str, found: Sequence[Sequence[float]], seconds: float) -> str:
    every = [value for values in found for value in values]
    rate = wilson(sum(every), len(every))
    seeds = ", ".join(f"{fmean(values):.3f}" for values in found)
    cpu = "" if math.isnan(seconds) else f"{seconds:.0f}"
    return f"| {name} | {rate.mean:.3f} ({rate.low:.3f} to {rate.high:.3f}) | {seeds} | {cpu} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("engines", "methods"))
    given = parser.parse_args()
    full = {"sessions": 300, "steps": 60, "repeat": 3, "method_steps": 60, "seeds": 3, "tasks": 200}
    small = {"sessions": 60, "steps": 10, "repeat": 1, "method_steps": 4, "seeds": 1, "tasks": 30}
    sizes = argparse.Namespace(**(small if given.quick else full))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        asyncio.run(record(folder, sizes.sessions))
        for part, table in (("engines", engines), ("methods", methods)):
            if given.only in (None, part):
                print(f"\n## {part}\n\n" + "\n".join(table(folder, sizes)), flush=True)


if __name__ == "__main__":
    main()
