"""Judge aggregation on recorded votes of real models: the runtime's own ensemble, replayed.

    python benchmarks/judging.py --data DIR [--splits 5] [--quick]

Tasks are split into halves by their id. Whatever is chosen or fitted is chosen or fitted on one half and scored on the
other, then the other way round; each split draws new halves. Accuracy is averaged over splits for each task, and the
interval is a bootstrap over tasks. A judge asked in both orders of a pair counts with the mean of its two decisions.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from atlas.evidence import bootstrap_mean, paired_difference
from atlas.evidence.reliability import calibration_error
from atlas.judges import Ensemble, EnsembleRules, FitRules, GoldCase, PanelWeights, fit_panel
from atlas.models import Caller
from atlas.schema import Body, Event, Session, Task, Verdict, content_hash, now
from atlas.schema.errors import ConfigError, JudgeError
from recorded import Votes, votes_in

TARGET = 0.25
"""Share of tasks, at most, that may be escalated."""


class Silence:
    """A trace that keeps nothing."""

    session_id = "replay"

    async def record(self, body: Body) -> Event:
        return Event(session_id=self.session_id, seq=1, at=now(), body=body)


class RecordedJudge:
    """A judge that says what it said."""

    def __init__(self, name: str, cases: Mapping[str, GoldCase]) -> None:
        self.name = name
        self._cases = cases

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        score = self._cases[session.id].scores.get(self.name)
        if score is None:
            raise JudgeError("Its vote could not be read.")
        return Verdict(judge=self.name, score=score)

    async def settle(self, session: Session, verdicts: tuple[Verdict, ...], caller: Caller) -> Verdict:
        return await self.judge(session, caller)


@dataclass
class Arm:
    """One way of judging: right or wrong for each task, over all splits."""

    right: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: list[float] = field(default_factory=list)
    escalated: list[float] = field(default_factory=list)
    stated: list[float] = field(default_factory=list)
    gold: list[float] = field(default_factory=list)

    def note(self, at: int, case: GoldCase, value: float | None, calls: float, *, escalated: bool) -> None:
        """One verdict; no value counts as a coin."""
        told = 0.5 if value is None else value
        self.right[at].append(0.5 if told == 0.5 else float((told > 0.5) == (case.gold > 0.5)))
        self.calls.append(calls)
        self.escalated.append(escalated)
        self.stated.append(told)
        self.gold.append(case.gold)

    def per_task(self) -> list[float]:
        """Share of splits in which each task was judged rightly."""
        return [fmean(self.right[at]) for at in sorted(self.right)]


@dataclass(frozen=True)
class Half:
    """One half to fit on, the other to score."""

    votes: Votes
    fit: list[GoldCase]
    mirrored: list[GoldCase]
    test: list[tuple[int, GoldCase]]


def halves(votes: Votes, seed: int) -> list[Half]:
    """Both directions of one split; all cases of one task fall into the same half."""
    side = [int(content_hash(str(seed), case.id)[:8], 16) % 2 for case in votes.cases]
    made: list[Half] = []
    for fit_side in (0, 1):
        fit = [case for case, one in zip(votes.cases, side, strict=True) if one == fit_side]
        turned = [case for case, one in zip(votes.mirrored, side, strict=False) if one == fit_side]
        test = [(at, case) for at, case in enumerate(votes.cases) if side[at] != fit_side]
        made.append(Half(votes, fit, turned, test))
    return made


def accuracy(unit: Sequence[str], cases: Sequence[GoldCase]) -> float:
    """Mean over a judge's orders and cases; a missing vote is a coin."""
    return fmean(fmean(_right(case.scores.get(one), case.gold) for one in unit) for case in cases)


def _right(score: float | None, gold: float) -> float:
    return 0.5 if score is None or score == 0.5 else float((score > 0.5) == (gold > 0.5))


def singles(half: Half, arms: Mapping[str, Arm]) -> str:
    """The judge that was best on the fitting half, and the one that proves best on the other; gives the first."""
    units = half.votes.units
    ranked = sorted(units, key=lambda judge: (-accuracy(units[judge], half.fit), judge))
    hindsight = max(units, key=lambda judge: accuracy(units[judge], [case for _, case in half.test]))
    for arm, judge in (
        ("best single judge of the fitting half", ranked[0]),
        ("best single judge in hindsight", hindsight),
    ):
        for at, case in half.test:
            right = fmean(_right(case.scores.get(one), case.gold) for one in units[judge])
            calls = sum(half.votes.calls[one] for one in units[judge])
            noted = arms[arm]
            noted.right[at].append(right)
            noted.calls.append(calls)
            noted.escalated.append(0)
    return ranked[0]


async def replay(
    half: Half, arm: Arm, names: Sequence[str], made: Callable[[Sequence[RecordedJudge]], Ensemble]
) -> None:
    """Put the test half through an ensemble of recorded judges."""
    cases = {f"case {at}": case for at, case in half.test}
    ensemble = made([RecordedJudge(name, cases) for name in names])
    caller = Caller(Silence())
    for at, case in half.test:
        task = Task(prompt=case.id, learning_key=case.key)
        session = Session(id=f"case {at}", task=task, status="succeeded", answer="recorded", created_at=now())
        reward = await ensemble.reward(session, caller)
        asked = [verdict.judge for verdict in reward.verdicts]
        arm.note(at, case, reward.value, sum(half.votes.calls[name] for name in asked), escalated=reward.escalated)


async def seeded(half: Half, arm: Arm, best: str) -> None:
    """The fixed ensemble: three samples always, and on disagreement the best judge alone as the arbiter."""
    units = half.votes.units
    others = sorted(
        (one for one in units if one != best and one.split("/")[0] != best.split("/")[0]),
        key=lambda judge: -accuracy(units[judge], half.fit),
    )
    others = others or sorted((one for one in units if one != best), key=lambda one: -accuracy(units[one], half.fit))
    names = [units[one][0] for one in others[:3]]
    cases = {f"case {at}": case for at, case in half.test}
    arbiter = RecordedJudge(units[best][0], cases)

    def made(judges: Sequence[RecordedJudge]) -> Ensemble:
        # thresholds at which every disagreement of yes/no votes escalates, and no sample is spared
        return Ensemble((), judges, arbiter, rules=EnsembleRules(max_samples=3))

    await replay(half, arm, names, made)


def majority(half: Half, arm: Arm) -> None:
    """The mean of every recorded vote."""
    names = list(half.votes.calls)
    calls = sum(half.votes.calls.values())
    for at, case in half.test:
        heard = [case.scores[name] for name in names if name in case.scores]
        arm.note(at, case, fmean(heard) if heard else None, calls, escalated=False)


async def ours(half: Half, arm: Arm, rules: FitRules, *, keys: bool = True) -> PanelWeights:
    """Weights fitted on the fitting half alone, served by the runtime's ensemble."""
    fit = [*half.fit, *half.mirrored]
    if not keys:
        fit = [case.model_copy(update={"key": "all"}) for case in fit]
    weights = fit_panel(fit, rules)
    await replay(half, arm, weights.judges, lambda judges: Ensemble((), judges, weights=weights))
    return weights


async def measure(votes: Votes, splits: int) -> dict[str, Arm]:
    """Every arm on every split."""
    arms: dict[str, Arm] = defaultdict(Arm)
    for seed in range(splits):
        for half in halves(votes, seed):
            best = singles(half, arms)
            majority(half, arms["majority of all"])
            await seeded(half, arms["three samples + arbiter on disagreement"], best)
            weights = await ours(half, arms["Atlas: fitted panel"], FitRules(escalation=TARGET))
            await ours(half, arms["Atlas: without weights below 0"], FitRules(escalation=TARGET, signed=False))
            await ours(half, arms["Atlas: without learning keys"], FitRules(escalation=TARGET), keys=False)
            await ours(half, arms["Atlas: whole panel always"], FitRules(escalation=1.0, first=6))
            if seed == 0:
                print(f"  {votes.name}: panel {', '.join(weights.judges)}", file=sys.stderr)
    return arms


def table(votes: Votes, arms: Mapping[str, Arm]) -> str:
    """Markdown."""
    single = arms["best single judge of the fitting half"].per_task()
    lines = [
        f"\n### {votes.name}: {len(votes.cases)} tasks, {len(votes.units)} judges, {votes.unread} votes unread\n",
        "| way of judging | accuracy [95 %] | against the best single judge [95 %] | escalated | calls per verdict "
        "| calibration error |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        right = arm.per_task()
        mean, gap = bootstrap_mean(right), paired_difference(right, single)
        against = (
            "" if right is single or name.startswith("best single judge of") else _signed(gap.mean, gap.low, gap.high)
        )
        error = f"{calibration_error(arm.stated, arm.gold):.3f}" if name.startswith("Atlas") else ""
        lines.append(
            f"| {name} | {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] | {against} | {fmean(arm.escalated):.0%} "
            f"| {fmean(arm.calls):.2f} | {error} |"
        )
    return "\n".join(lines)


def _signed(mean: float, low: float, high: float) -> str:
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with recorded votes, searched for known formats"
    )
    parser.add_argument("--splits", type=int, default=5, help="ways to cut the tasks into halves")
    parser.add_argument("--quick", action="store_true", help="one split")
    given = parser.parse_args()
    found = votes_in(given.data)
    if not found:
        sys.exit(f"No recorded votes below {given.data}.")
    for votes in found:
        try:
            arms = await measure(votes, 1 if given.quick else given.splits)
        except ConfigError as error:
            print(f"{votes.name}: {error}", file=sys.stderr)
            continue
        print(table(votes, arms), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
