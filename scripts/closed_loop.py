"""The closed loop, shown: sessions become a better teacher, which makes the same frozen student better.

python scripts/closed_loop.py --output loop        (or: make loop)
python scripts/closed_loop.py --output loop --quick

No key, no network, CPU only. Every number in the table and the plot is from that run.

1  The pocket student and the shipped teacher play tasks; sessions are recorded in Postgres and approved.
2  The teacher is trained on them: SFT on its own words that led to success, then GRPO with the frozen student.
3  It enters as canary, is compared with the one that serves on other tasks, and is promoted on evidence.
4  Held-out tasks: the student alone, with the untrained teacher, with the trained one.
5  The student itself learns from the recorded guidance (GKD), and answers alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.config import AtlasConfig
from atlas.deploy import Trial, enter, promote, try_out
from atlas.evaluate.demo import demo_config
from atlas.evaluate.desk import Desk, DeskTask
from atlas.evaluate.stream import settled
from atlas.evidence import wilson
from atlas.memory import MemoryRules
from atlas.runtime import STATE_FOLDER, open_runtime
from atlas.schema import Lane, Policy, Task
from atlas.store.ledger import open_ledger
from atlas.store.open import open_database
from atlas.store.review import ReviewDesk
from atlas.train import Manifest, Order, load_train_config, train
from atlas.train.engine import StepLog, read_log
from atlas.train.evaluation import Comparison, Played, compare, play_tasks, seated


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    traces: int = 400
    """Sessions that are recorded."""
    canary: int = 200
    """Of further tasks, how many the canary may be tried on."""
    held_out: int = 400
    """Held-out tasks of the final comparison."""
    sft: int = 20
    """Steps of SFT."""
    grpo: int = 50
    """Steps of GRPO."""
    gkd: int = 60
    """Steps of GKD."""


QUICK = Size(traces=60, canary=20, held_out=40, sft=2, grpo=2, gkd=2)
SHARED = ("threads=1", "data.reviews=[approved]")
SFT = ("role=teacher", "model=pocket-teacher", "data.min_value=1", "optimizer.lr=1e-4", "batch_size=32")
GRPO = ("role=teacher", "loop=atlas.yaml", "variant=dapo", "questions=12", "group=6", "optimizer.lr=3e-4", "kl=0.02")
GKD = ("model=pocket-student", "teacher_sees=guidance", "lambda=0.5", "beta=0.5", "optimizer.lr=1e-3", "batch_size=32")


class Loop:
    """One run of the whole story in one folder."""

    def __init__(self, folder: Path, size: Size, seed: int) -> None:
        self.folder = folder
        self.size = size
        self.seed = seed
        self.config = demo_config(learn=False)
        self.trained: list[tuple[str, Manifest]] = []
        self.started = time.perf_counter()

    def tell(self, text: str) -> None:
        """A line with the time."""
        print(f"{time.perf_counter() - self.started:6.0f} s  {text}", flush=True)

    def write_config(self) -> None:
        """The loop as a user would write it."""
        plain = self.config.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        (self.folder / "atlas.yaml").write_text(json.dumps(plain, indent=1) + "\n", "utf-8")

    async def record(self) -> float:
        """Play training tasks in the paired lane, and approve what was recorded; gives the share of successes."""
        made = Desk(split="train", exponent=0.3).tasks(self.seed, self.size.traces)
        good = 0.0
        async with await open_runtime(self.config, folder=self.folder) as runtime:
            for each in made:
                session = await settled(runtime, each.task, lane="paired")
                good += (session.reward.value or 0.0) if session.reward else 0.0
        return good / len(made)

    async def approve(self) -> int:
        """What a reviewer does, for all sessions at once."""
        async with open_database(self.folder / STATE_FOLDER) as database:
            desk = ReviewDesk(database)
            rows = [row async for row in desk.sessions(reviews=["pending"])]
            for row in rows:
                await desk.decide(row.id, "approved", who="closed loop", note="all of this demonstration")
            return len(rows)

    async def teach(self, method: Any, name: str, *assignments: str) -> Path:
        """One training run; gives its checkpoint."""
        output = self.folder / "runs" / name
        config = load_train_config(method, None, (*SHARED, f"seed={self.seed}", *assignments))
        order = Order(config, str(self.folder), output, base=self.folder, ledger=self.folder / STATE_FOLDER)
        manifest = await train(order, on_step=self._step)
        self.trained.append((name, manifest))
        return output / "final"

    def _step(self, told: StepLog) -> None:
        if told.step % 20 == 0:
            reward = f", reward {told.metrics['reward']:.3f}" if "reward" in told.metrics else ""
            self.tell(f"      step {told.step}, loss {told.loss:.4f}{reward}")

    async def deploy(self, checkpoint: Path) -> tuple[Policy, Comparison | None]:
        """Try the checkpoint on tasks that it did not learn from; promote it if the evidence says so."""
        tasks = tasks_of(Desk(split="train", exponent=0.3).tasks(self.seed + 1, self.size.canary))
        state, rules = self.folder / STATE_FOLDER, MemoryRules()
        async with open_ledger(state) as ledger:
            policy = await enter(ledger, state, checkpoint, role="teacher", source=str(checkpoint.parent.name))
            tried = await try_out(ledger, policy, Trial(self.config, self.folder, tasks, "paired"), rules=rules)
            if tried.verdict == "helps":
                return await promote(ledger, state, tried.policy, rules=rules), tried.comparison
            return tried.policy, tried.comparison

    async def arm(self, config: AtlasConfig, lane: Lane) -> list[Played]:
        """The held-out tasks once."""
        return await play_tasks(config, self.folder, tasks_of(self.held_out), lane=lane)

    @property
    def held_out(self) -> list[DeskTask]:
        """Tasks with phrases and objects that no model was trained on."""
        return Desk(split="held_out", exponent=0.3).tasks(self.seed + 2, self.size.held_out)


def tasks_of(made: Sequence[DeskTask]) -> list[Task]:
    """The tasks themselves."""
    return [each.task for each in made]


async def run(loop: Loop) -> None:
    """The story, top to bottom."""
    loop.folder.mkdir(parents=True, exist_ok=True)
    loop.write_config()
    share = await loop.record()
    loop.tell(f"recorded {loop.size.traces} paired sessions, {share:.3f} of them successful")
    loop.tell(f"approved {await loop.approve()} sessions")
    warm = await loop.teach("sft", "teacher-sft", *SFT, f"steps={loop.size.sft}")
    loop.tell("trained the teacher by SFT on its own words that led to success")
    start = f"model={warm.relative_to(loop.folder)}"
    better = await loop.teach("grpo", "teacher-grpo", *GRPO, start, f"steps={loop.size.grpo}")
    loop.tell("trained it by GRPO with the frozen student in the loop")
    policy, _ = await loop.deploy(better)
    loop.tell(f"canary {policy.state}: {policy.reason}")
    arms = {
        "student alone": await loop.arm(loop.config, "auto"),
        "with the untrained teacher": await loop.arm(loop.config, "paired"),
        "with the teacher after SFT": await loop.arm(local(loop, "teacher", warm), "paired"),
        "with the teacher after GRPO": await loop.arm(local(loop, "teacher", better), "paired"),
    }
    loop.tell("played the held-out tasks")
    distilled = await loop.teach("gkd", "student-gkd", *GKD, f"steps={loop.size.gkd}")
    arms["student alone after GKD of the guidance"] = await loop.arm(local(loop, "student", distilled), "auto")
    loop.tell("distilled the recorded guidance into the student")
    text = report(loop, arms, policy)
    (loop.folder / "closed-loop.md").write_text(text, "utf-8")
    (loop.folder / "closed-loop.svg").write_text(plot(arms, loop), "utf-8")
    print(f"\n{text}\n{loop.folder / 'closed-loop.md'}\n{loop.folder / 'closed-loop.svg'}")


def local(loop: Loop, role: Any, checkpoint: Path) -> AtlasConfig:
    """The loop with a checkpoint in a seat."""
    return seated(loop.config, role, str(checkpoint.relative_to(loop.folder)))


def report(loop: Loop, arms: dict[str, list[Played]], policy: Policy) -> str:
    """The table."""
    rows = [
        f"# The closed loop, seed {loop.seed}",
        "",
        f"{loop.size.held_out} held-out tasks, each played in every arm; intervals are 95 %.",
        "",
        "| arm | success | tokens per task |",
        "|---|---|---|",
    ]
    for name, played in arms.items():
        known = [one.value for one in played if one.value is not None]
        rate = wilson(sum(known), len(known))
        tokens = sum(one.tokens for one in played) / len(played)
        rows.append(f"| {name} | {rate.mean:.3f} ({rate.low:.3f} to {rate.high:.3f}) | {tokens:.0f} |")
    rows += [
        "",
        "| paired | difference | only the second | only the first | p | at least as good |",
        "|---|---|---|---|---|---|",
    ]
    names = list(arms)
    for one, other in ((0, 1), (1, 2), (2, 3), (1, 3), (0, 4)):
        told = compare(arms[names[one]], arms[names[other]])
        gain = f"{told.gain.mean:+.3f} ({told.gain.low:+.3f} to {told.gain.high:+.3f})"
        good = told.non_degradation
        rows.append(
            f"| {names[one]} → {names[other]} | {gain} | {told.better} | {told.worse} | {told.p_value:.2g} "
            f"| {good.mean:.3f} ({good.low:.3f} to {good.high:.3f}) |"
        )
    rows += ["", f"The trained teacher is {policy.state}: {policy.reason}.", ""]
    for name, manifest in loop.trained:
        seconds = sum(step.seconds for step in read_log(loop.folder / "runs" / name))
        rows.append(
            f"- `{name}`: {manifest.method}, {manifest.config['steps']} steps, {manifest.examples} examples of "
            f"{len(manifest.sessions)} sessions, {seconds:.0f} s"
        )
    rows += ["", f"The whole run took {time.perf_counter() - loop.started:.0f} s on this machine.", ""]
    return "\n".join(rows)


def plot(arms: dict[str, list[Played]], loop: Loop) -> str:
    """Success with intervals as bars, and the reward of GRPO by step, as one SVG."""
    width, row = 760, 34
    parts = [f'<text x="10" y="22" font-weight="bold">Success on {loop.size.held_out} held-out tasks (95 %)</text>']
    for number, (name, played) in enumerate(arms.items()):
        known = [one.value for one in played if one.value is not None]
        rate, y = wilson(sum(known), len(known)), 40 + number * row
        x, low, high = (330 + 400 * value for value in (rate.mean, rate.low, rate.high))
        parts += [
            f'<text x="10" y="{y + 15}">{name}</text>',
            f'<rect x="330" y="{y}" width="{x - 330:.1f}" height="20" fill="#4878a8"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 10}" y2="{y + 10}" stroke="#111" stroke-width="2"/>',
            f'<text x="{high + 6:.1f}" y="{y + 15}">{rate.mean:.3f}</text>',
        ]
    top = 70 + len(arms) * row
    rewards = [step.metrics.get("reward", 0.0) for step in read_log(loop.folder / "runs" / "teacher-grpo")]
    points = " ".join(
        f"{40 + at * 680 / max(1, len(rewards) - 1):.1f},{top + 110 - 100 * value:.1f}"
        for at, value in enumerate(rewards)
    )
    parts += [
        f'<text x="10" y="{top}" font-weight="bold">Teaching reward by step of GRPO (0 to 1)</text>',
        f'<line x1="40" x2="720" y1="{top + 110}" y2="{top + 110}" stroke="#999"/>',
        f'<polyline fill="none" stroke="#a84848" stroke-width="1.5" points="{points}"/>',
    ]
    body = "\n".join(parts)
    size = f'width="{width}" height="{top + 130}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return f'{head}\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("loop"), help="the folder of the run; a new one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it runs")
    given = parser.parse_args()
    if (given.output / STATE_FOLDER).exists():
        sys.exit(f"{given.output} holds a run already; give another --output or remove it")
    asyncio.run(run(Loop(given.output.resolve(), QUICK if given.quick else Size(), given.seed)))


if __name__ == "__main__":
    main()
