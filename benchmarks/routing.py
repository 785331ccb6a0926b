"""Routing on recorded outcomes of real models: a weak and a strong arm on the same tasks, so every route is known.

    python benchmarks/routing.py --data DIR [--pair WEAK:STRONG ...] [--splits 5] [--quick]

Tasks are split into halves by their id; everything is fitted on one half and scored on the other, then the other way
round. The yardstick knows the accuracy of both arms in each category. Routers are compared at the same share of strong
calls. NDR is the share of tasks on which the routed outcome is at least as good as the weak arm's own.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from atlas.evidence import bootstrap_mean, paired_difference
from atlas.evidence.reliability import auroc, calibration_error
from atlas.schema import content_hash
from atlas.schema.errors import ConfigError
from atlas.triage import Tried, fit_arms
from recorded_outcomes import outcomes_in

SHARES = (0.1, 0.2, 0.3, 0.4)
"""Shares of strong calls at which routers are compared, beside the yardstick's own."""
PRICE = 0.1
"""Gain in success from which the yardstick takes the strong arm."""
VIEWS = ("key and words", "and the task's past", "and a look at the answer")


@dataclass
class Arm:
    """One router over all splits: outcome of each task, and whether the strong arm was called."""

    success: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    strong: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)

    def note(self, at: int, one: Tried, strong: float) -> None:
        """`strong` is the probability of the strong arm."""
        self.success[at].append(strong * one.helped + (1 - strong) * one.alone)
        self.strong.append(strong)
        self.kept.append(1 - strong * (one.helped < one.alone))

    def per_task(self) -> list[float]:
        """Mean success of each task over the splits."""
        return [fmean(self.success[at]) for at in sorted(self.success)]


@dataclass
class Probe:
    """Stated chances of the weak arm and what came of them."""

    stated: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    each: list[tuple[float, float]] = field(default_factory=list)

    def note(self, stated: Sequence[float], came: Sequence[float]) -> None:
        """One test half."""
        self.stated += stated
        self.came += came
        if len({*came}) > 1:
            self.each.append((auroc(stated, came), calibration_error(stated, came)))


@dataclass
class Measured:
    """Everything about one pair of arms."""

    arms: dict[str, Arm] = field(default_factory=lambda: defaultdict(Arm))
    probes: dict[str, Probe] = field(default_factory=lambda: defaultdict(Probe))
    tasks: int = 0


def seen(tasks: Sequence[Tried], view: str) -> list[Tried]:
    """What a router of this kind is shown."""
    hidden: dict[str, object] = {} if view == VIEWS[2] else {"look": None}
    hidden |= {"past": {}} if view == VIEWS[0] else {}
    return [one.model_copy(update={"signals": one.signals.model_copy(update=hidden)}) for one in tasks]


def category_gains(fit: Sequence[Tried]) -> dict[str, float]:
    """Accuracy of the strong arm minus the weak arm's, by category."""
    rows: dict[str, list[float]] = defaultdict(list)
    for one in fit:
        rows[one.signals.key].append(one.helped - one.alone)
    return {key: fmean(gaps) for key, gaps in rows.items()}


def by_gain(gains: Sequence[float], share: float) -> list[float]:
    """The probability of the strong arm when this share of the tasks gets it, largest gain first; ties share evenly."""
    left = share * len(gains)
    given = [0.0] * len(gains)
    for gain in sorted(set(gains), reverse=True):
        tied = [at for at, one in enumerate(gains) if one == gain]
        part = min(1.0, max(0.0, left / len(tied)))
        for at in tied:
            given[at] = part
        left -= len(tied)
    return given


def score(measured: Measured, fit: list[Tried], test: list[tuple[int, Tried]]) -> None:
    """Fit on one half, score on the other."""
    known = category_gains(fit)
    tasks = [one for _, one in test]
    category = [known.get(one.signals.key, 0.0) for one in tasks]
    own_share = fmean(gain > PRICE for gain in category)
    shares = {f"{share:.0%}": share for share in SHARES} | {"own": own_share}

    def route(name: str, gains: Sequence[float]) -> None:
        for label, share in shares.items():
            for (at, one), strong in zip(test, by_gain(gains, share), strict=True):
                measured.arms[f"{name}@{label}"].note(at, one, strong)

    route("category accuracy", category)
    for at, one in test:
        measured.arms["always weak"].note(at, one, 0)
        measured.arms["always strong"].note(at, one, 1)
        measured.arms["oracle"].note(at, one, float(one.helped > one.alone))
    for view in VIEWS:
        if view == VIEWS[1] and not any(one.signals.past for one in tasks):
            continue
        if view == VIEWS[2] and not any(one.signals.look for one in tasks):
            continue
        arms = fit_arms(seen(fit, view))
        worth = [arms.worth(one.signals) for one in seen(tasks, view)]
        route(f"Atlas: {view}", [one.gain for one in worth])
        measured.probes[view].note([one.alone for one in worth], [one.alone for one in tasks])


def measure(tasks: Sequence[Tried], splits: int) -> Measured:
    """Every router on every split."""
    measured = Measured(tasks=len(tasks))
    for seed in range(splits):
        side = [int(content_hash(str(seed), one.task)[:8], 16) % 2 for one in tasks]
        for fit_side in (0, 1):
            fit = [one for one, at in zip(tasks, side, strict=True) if at == fit_side]
            test = [(at, one) for at, one in enumerate(tasks) if side[at] != fit_side]
            score(measured, fit, test)
    return measured


def tables(title: str, measured: Measured) -> str:
    """Markdown: fixed arms and the yardstick's own point, then equal shares, then the probe."""
    arms = measured.arms
    lines = [f"\n### {title}: {measured.tasks} tasks\n"]
    lines += [
        "| router | success [95 %] | against category accuracy [95 %] | strong calls | NDR |",
        "|---|---|---|---|---|",
    ]
    yard = arms["category accuracy@own"].per_task()
    names = ["always weak", "always strong", "oracle", "category accuracy@own"]
    names += [f"Atlas: {view}@own" for view in VIEWS if f"Atlas: {view}@own" in arms]
    for name in names:
        arm = arms[name]
        mean, gap = bootstrap_mean(arm.per_task()), paired_difference(arm.per_task(), yard)
        against = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" if name.startswith("Atlas") else ""
        lines.append(
            f"| {name.removesuffix('@own')} | {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}] | {against} "
            f"| {fmean(arm.strong):.0%} | {fmean(arm.kept):.3f} |"
        )
    lines += ["", f"| success at strong calls of | {' | '.join(f'{share:.0%}' for share in SHARES)} |"]
    lines.append("|---" * (len(SHARES) + 1) + "|")
    for name in ("category accuracy", *(f"Atlas: {view}" for view in VIEWS)):
        if f"{name}@{SHARES[0]:.0%}" in arms:
            cells = [f"{fmean(arms[f'{name}@{share:.0%}'].per_task()):.3f}" for share in SHARES]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| chance that the weak arm succeeds | AUROC | calibration error |", "|---|---|---|"]
    for view, probe in measured.probes.items():
        ranks, errors = [one for one, _ in probe.each], [one for _, one in probe.each]
        if ranks:
            lines.append(f"| {view} | {fmean(ranks):.3f} | {fmean(errors):.3f} |")
    return "\n".join(lines)


def over_shares(measured: Measured, name: str) -> list[float]:
    """Success of each task, averaged over the shares."""
    each = [measured.arms[f"{name}@{share:.0%}"].per_task() for share in SHARES]
    return [fmean(one) for one in zip(*each, strict=True)]


def summary(all_measured: Mapping[str, Measured]) -> str:
    """Each router against the yardstick over all pairs: success averaged over the shares of strong calls."""
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    lines = [f"\n### All pairs: success averaged over strong calls of {shares}, against category accuracy [95 %]\n"]
    lines += ["| pair | " + " | ".join(["category accuracy", *VIEWS]) + " |", "|---" * 5 + "|"]
    for title, measured in all_measured.items():
        yard = over_shares(measured, "category accuracy")
        cells = [f"{fmean(yard):.3f}"]
        for view in VIEWS:
            if f"Atlas: {view}@own" not in measured.arms:
                cells.append("")
                continue
            gap = paired_difference(over_shares(measured, f"Atlas: {view}"), yard)
            cells.append(f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with recorded outcomes, searched for known formats"
    )
    parser.add_argument(
        "--pair", action="append", default=[], help="WEAK:STRONG, parts of model names; may be repeated"
    )
    parser.add_argument("--splits", type=int, default=5, help="ways to cut the tasks into halves")
    parser.add_argument("--quick", action="store_true", help="one split")
    given = parser.parse_args()
    wanted = [(weak, strong) for weak, _, strong in (pair.partition(":") for pair in given.pair)]
    if not all(weak and strong for weak, strong in wanted):
        parser.error("a pair is WEAK:STRONG")
    all_measured: dict[str, Measured] = {}
    for found in outcomes_in(given.data):
        for weak, strong in found.pairs(wanted):
            title = f"{found.name}, {weak} -> {strong}"
            try:
                all_measured[title] = measure(found.both(weak, strong), 1 if given.quick else given.splits)
            except ConfigError as error:
                print(f"{title}: {error}", file=sys.stderr)
                continue
            print(tables(title, all_measured[title]), flush=True)
    if not all_measured:
        sys.exit(f"No recorded outcomes of two arms below {given.data}.")
    print(summary(all_measured))


if __name__ == "__main__":
    main()
