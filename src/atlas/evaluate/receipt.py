"""What a stream showed: success and tokens with intervals, measured in that run and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from atlas.evaluate.stream import Point
from atlas.evidence.intervals import mcnemar_exact, paired_difference, wilson
from atlas.schema import Actor, Lane, Noun, Usage


class SuccessRate(Noun):
    """A rate with its 95 % interval."""

    mean: float
    """Share of tasks that ended well, in [0, 1]."""
    ci: tuple[float, float]
    """95 % interval."""
    n: int
    """Tasks."""


class TokensPerTask(Noun):
    """Tokens of all roles per task, by part of the stream."""

    first_third: float
    """Mean over the first third of the stream."""
    last_third: float
    """Mean over the last third."""


class HarmfulEntry(Noun):
    """What became of the lesson that was planted to do harm."""

    caught: bool
    """Whether it was taken out of the prompts."""
    after_sessions: int | None
    """Sessions it matched until then; None when it was not caught."""


class Receipt(Noun):
    """One stream, on one page."""

    seed: int
    """Which stream."""
    tasks: int
    """Its length."""
    success: dict[str, SuccessRate]
    """`with_loop` and `student_alone`, over the whole stream."""
    success_by_third: dict[str, tuple[SuccessRate, SuccessRate, SuccessRate]]
    """The same for each third, and `first_try`: the agent's own first attempts in the loop, before any help."""
    gain: SuccessRate
    """Paired difference of success, loop minus alone, over the whole stream."""
    gain_last_third: SuccessRate
    """The same over the last third."""
    discordant: tuple[int, int]
    """Tasks only the loop solved, tasks only the student alone solved."""
    p_value: float
    """Exact McNemar test of these two counts."""
    non_degradation: SuccessRate
    """Share of tasks where the loop did at least as well as the student alone."""
    tokens_per_task: TokensPerTask
    """All roles, learning included."""
    tokens_by_role: dict[str, int]
    """Sum over the stream."""
    supervision_tax: float
    """Tokens of teacher, probe, judges and curator for each token of the student."""
    lanes: dict[str, dict[str, int]]
    """Sessions of each lane in the first, middle and last third."""
    harmful_entry: HarmfulEntry
    """The planted lesson."""
    cost_usd: float | None
    """Money, where prices are known."""
    seconds: float
    """Wall-clock time of the whole run."""


def receipt(points: Sequence[Point], *, seed: int, harmful: HarmfulEntry, seconds: float) -> Receipt:
    """The receipt of a stream of at least three points."""
    parts = thirds(points)
    usage = _by_role(points)
    student = usage.get("student", Usage()).tokens
    others = sum(used.tokens for actor, used in usage.items() if actor != "student")
    better = sum(point.loop > point.alone for point in points)
    worse = sum(point.loop < point.alone for point in points)
    return Receipt(
        seed=seed,
        tasks=len(points),
        success={"with_loop": _rate([p.loop for p in points]), "student_alone": _rate([p.alone for p in points])},
        success_by_third={
            "with_loop": _rates([[p.loop for p in part] for part in parts]),
            "first_try": _rates([[p.first_try for p in part] for part in parts]),
            "student_alone": _rates([[p.alone for p in part] for part in parts]),
        },
        gain=_gain(points),
        gain_last_third=_gain(parts[2]),
        discordant=(better, worse),
        p_value=mcnemar_exact(better, worse),
        non_degradation=_rate([float(p.loop >= p.alone) for p in points]),
        tokens_per_task=TokensPerTask(first_third=_mean_tokens(parts[0]), last_third=_mean_tokens(parts[2])),
        tokens_by_role={actor: used.tokens for actor, used in usage.items()},
        supervision_tax=others / student if student else 0.0,
        lanes={
            name: {lane: count for lane, count in _lane_counts(part).items() if count}
            for name, part in zip(("first_third", "middle_third", "last_third"), parts, strict=True)
        },
        harmful_entry=harmful,
        cost_usd=sum(usage.values(), Usage()).cost_usd,
        seconds=round(seconds, 1),
    )


def thirds(points: Sequence[Point]) -> tuple[Sequence[Point], Sequence[Point], Sequence[Point]]:
    """The stream in three parts of (nearly) equal length."""
    one, two = len(points) // 3, 2 * len(points) // 3
    return points[:one], points[one:two], points[two:]


def _rate(values: Sequence[float]) -> SuccessRate:
    interval = wilson(sum(values), len(values))
    return SuccessRate(mean=interval.mean, ci=(interval.low, interval.high), n=len(values))


def _rates(parts: Sequence[Sequence[float]]) -> tuple[SuccessRate, SuccessRate, SuccessRate]:
    first, middle, last = map(_rate, parts)
    return first, middle, last


def _gain(points: Sequence[Point]) -> SuccessRate:
    interval = paired_difference([p.loop for p in points], [p.alone for p in points])
    return SuccessRate(mean=interval.mean, ci=(interval.low, interval.high), n=interval.n)


def _by_role(points: Sequence[Point]) -> dict[Actor, Usage]:
    total: dict[Actor, Usage] = {}
    for point in points:
        for role in point.usage:
            total[role.actor] = total.get(role.actor, Usage()) + role.usage
    return total


def _mean_tokens(points: Sequence[Point]) -> float:
    return sum(point.tokens for point in points) / len(points)


def _lane_counts(points: Sequence[Point]) -> Counter[Lane]:
    return Counter(point.lane for point in points)
