"""What `atlas judge` and `atlas route` print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.evidence import Interval
    from atlas.evidence.reliability import Bin
    from atlas.judges import AttackFile, PanelWeights
    from atlas.judges.calibration import Drift, JudgeReport
    from atlas.schema import Reward

_BAR = 30


def reward_text(reward: Reward) -> str:
    """A reward on one line, and a line for each verdict."""
    value = "none" if reward.value is None else f"{reward.value:.2f}"
    told = [f"{value} by {reward.source}{f' ({reward.reason})' if reward.reason else ''}"]
    if reward.barred:
        told.append(f"  {reward.barred}")
    told += [f"  {one.judge} {one.score:.2f}: {one.rationale}" for one in reward.verdicts]
    return "\n".join(told)


def best_line(rewards: Sequence[Reward]) -> str:
    """Which of several answers was scored highest."""
    values = [reward.value for reward in rewards]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "no comparison: not every answer could be judged"
    best = [at for at, value in enumerate(values, start=1) if value == max(known)]
    return f"answer {best[0]} is best" if len(best) == 1 else f"answers {', '.join(map(str, best))} are equally good"


def calibration_lines(
    reports: Sequence[JudgeReport], weights: PanelWeights | None, mean: Interval | None
) -> Iterator[str]:
    """Reports of judges, the reliability plot of each, the fitted panel, the corrected mean."""
    for report in reports:
        one = report.agreement
        yield f"{report.judge}: {report.n} cases, {report.missing} without a verdict"
        yield f"  agreement {interval(one.agreement)}, kappa {interval(one.kappa)}"
        ranks = "" if one.auroc is None else f", AUROC {one.auroc:.2f}"
        yield f"  calibration error {one.raw_error:.3f} as stated, {one.mapped_error:.3f} mapped{ranks}"
        biases = (("position", report.position), ("length", report.length), ("its own model", report.own))
        for name, bias in biases:
            yield f"  bias for {name}: {'not measured' if bias is None else interval(bias)}"
        yield from plot(one.bins)
    if weights is not None:
        fit = weights.record
        yield f"panel of {len(weights.judges)}, {weights.first} asked first, the others where it is not clear:"
        for at, judge in enumerate(weights.judges):
            weight = weights.stages[-1].weights[at]
            against = "  counts against what it says" if weight < 0 else ""
            yield f"  {judge} {weight:+.2f}{against}"
        yield (
            f"  cross-validated on {fit.cases} cases: right {fit.accuracy:.3f}, calibration error "
            f"{fit.calibration_error:.3f}, {fit.escalation:.0%} asked further, {fit.judges_asked:.2f} judges a verdict"
        )
    if mean is not None:
        yield f"mean reward corrected by gold: {interval(mean)} over {mean.n} sessions"


def plot(bins: Sequence[Bin]) -> Iterator[str]:
    """A reliability plot: observed as a bar, the stated score as a mark on it."""
    for one in bins:
        mark, bar = round(one.stated * _BAR), round(one.observed * _BAR)
        drawn = "".join("|" if at == mark else "#" if at < bar else "." for at in range(_BAR + 1))
        yield f"    {one.stated:.2f} {drawn} {one.observed:.2f} (n={one.n})"


def attack_lines(found: AttackFile, barred: Mapping[str, str]) -> Iterator[str]:
    """One line for each judge, and what got through."""
    for one in found.reports:
        if not one.asked:
            yield f"{one.judge}: not measured, its model failed on all {one.failed} attacks"
            continue
        failed = f", {one.failed} not measured because its model failed" if one.failed else ""
        yield f"{one.judge}: {one.fooled} of {one.asked} let through, {interval(one.rate)}{failed}"
        if one.by_attack:
            worst = sorted(one.by_attack.items(), key=lambda item: (-item[1], item[0]))
            yield "  " + ", ".join(f"{name} x{times}" for name, times in worst)
        yield "  learning from it is off" if one.judge in barred else "  learning from it is on"


def drift_line(judge: str, drift: Drift | None, baseline: int) -> str:
    """One judge's drift."""
    if drift is None:
        return f"{judge}: too few scores ({baseline} for the baseline, then more)"
    told = f"{judge}: mean score {interval(drift.before)} before, {interval(drift.since)} since"
    return told if drift.alarm_after is None else f"{told}: DRIFT, sure after {drift.alarm_after} scores"


def interval(one: Interval) -> str:
    """An estimate with its ends."""
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"
