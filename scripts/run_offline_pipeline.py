"""From an exported file of sessions to a trained checkpoint, in one command.

python scripts/run_offline_pipeline.py --export-path traces.jsonl
python scripts/run_offline_pipeline.py --export-path traces.jsonl --output-dir runs/offline --methods sft,gkd

Each method starts from the checkpoint of the one before. What is printed at the end was measured on questions that no
method saw: the mean cross-entropy of the recorded replies, before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from atlas.cli.app import failed
from atlas.cli.training import Progress, need_torch
from atlas.schema.errors import AtlasError
from atlas.train import Order, load_train_config, prepare, summary_text, train
from atlas.train.evaluation import recorded_loss

START = {"student": "pocket-student", "teacher": "pocket-teacher", "judge": "pocket-teacher"}
OWN: dict[str, tuple[str, ...]] = {"grpo": ("rollouts=offline",)}


async def run(given: argparse.Namespace) -> None:
    """The pipeline, top to bottom."""
    model = given.model or START[given.role]
    before = await _loss(given, model)
    for method in given.methods.split(","):
        shared = (f"role={given.role}", f"model={model}", f"steps={given.steps}", f"seed={given.seed}")
        config = load_train_config(method, None, (*shared, *OWN.get(method, ()), *given.set))
        order = Order(config, given.export_path, given.output_dir / method, resume=given.resume)
        if given.dry_run:
            print("\n".join([f"{method} from {model}", *summary_text((await prepare(order)).summary)]))
            continue
        progress = Progress(config.steps, shown=not given.quiet)
        manifest = await train(order, on_step=progress.step)
        progress.end()
        model = str(given.output_dir / method / (manifest.checkpoint or ""))
        print(f"{method}: {manifest.examples} examples of {len(manifest.sessions)} sessions -> {model}")
    if not given.dry_run:
        after = await _loss(given, model)
        print(f"held-out cross-entropy per token: {before:.4f} before, {after:.4f} after")


async def _loss(given: argparse.Namespace, model: str) -> float:
    plain: Any = load_train_config("sft", None, (f"role={given.role}", f"model={model}", *given.set))
    return recorded_loss(await prepare(Order(plain, given.export_path, given.output_dir)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export-path", required=True, help="a file of `atlas export`, or a database URL")
    parser.add_argument("--output-dir", type=Path, default=Path("runs/offline"))
    parser.add_argument("--methods", default="sft", help="sft, gkd, grpo, in this order, separated by commas")
    parser.add_argument("--role", choices=sorted(START), default="student")
    parser.add_argument("--model", help="the checkpoint to start from")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key of the runs")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    try:
        need_torch()
        asyncio.run(run(given))
    except AtlasError as error:
        sys.exit(failed(error))


if __name__ == "__main__":
    main()
