"""The same tasks with one model and with another in the seat: success, tokens and time, paired, with intervals."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal

from atlas.config import AtlasConfig
from atlas.evidence import Interval, mcnemar_exact, paired_difference, wilson
from atlas.runtime import open_runtime
from atlas.schema import Lane, Noun, Session, Task
from atlas.schema.errors import AtlasError, ConfigError, ModelError

if TYPE_CHECKING:
    from atlas.train.run import Prepared

Seated = Literal["student", "teacher"]


class Played(Noun):
    """One task in one arm."""

    value: float | None
    """Its reward in [0, 1]; 0 where the student gave no answer; None after an outage or without a verdict."""
    tokens: int = 0
    """All roles together."""
    cost_usd: float | None = None
    """Money, where prices are known."""
    seconds: float = 0.0
    """Wall-clock time until the answer."""
    accepted: bool | None = None
    """The teacher's word on the answer."""


class Comparison(Noun):
    """A new model against the one before, on the same tasks."""

    n: int
    """Tasks that both arms finished."""
    masked: int
    """Tasks left out, because an outage or a missing verdict hit one of the arms."""
    before: Interval
    """Success of the model before, 95 %."""
    after: Interval
    """Success of the new one."""
    gain: Interval
    """Paired difference, after minus before."""
    better: int
    """Tasks that only the new one solved."""
    worse: int
    """Tasks that only the one before solved."""
    p_value: float
    """Exact McNemar test of these two counts."""
    non_degradation: Interval
    """Share of tasks where the new one did at least as well."""
    tokens: tuple[float, float]
    """Mean tokens per task, before and after."""
    seconds: tuple[float, float]
    """Median time until the answer, before and after."""
    cost_usd: tuple[float | None, float | None]
    """Mean cost per task, before and after, where prices are known."""


async def play_tasks(
    config: AtlasConfig,
    folder: Path,
    tasks: Sequence[Task],
    *,
    lane: Lane | None = None,
    on_task: Callable[[Played], None] = lambda played: None,
) -> list[Played]:
    """Each task once through a loop that stores and learns nothing.

    Raises:
        ConfigError: the loop cannot be opened.
    """
    bare = config.model_copy(
        update={"storage": None, "learning": config.learning.model_copy(update={"enabled": False})}
    )
    found: list[Played] = []
    async for played in _played(bare, folder, tasks, lane):
        found.append(played)
        on_task(played)
    return found


async def _played(config: AtlasConfig, folder: Path, tasks: Sequence[Task], lane: Lane | None) -> AsyncIterator[Played]:
    async with await open_runtime(config, folder=folder) as runtime:
        for task in tasks:
            started = time.perf_counter()
            running = await runtime.start(task, lane=lane)
            try:
                await running.answered()
                seconds = time.perf_counter() - started
                session = await running.settled()
            except ModelError as error:
                yield Played(value=None if error.retryable else 0.0)
                continue
            except AtlasError:  # The student gave no answer: that is a failure of the arm, not of the harness.
                yield Played(value=0.0)
                continue
            yield _told(session, seconds)


def _told(session: Session, seconds: float) -> Played:
    used = session.total_usage
    value = session.reward.value if session.reward else None
    return Played(
        value=value, tokens=used.tokens, cost_usd=used.cost_usd, seconds=round(seconds, 6), accepted=session.accepted
    )


def seated(config: AtlasConfig, role: Seated, model: str) -> AtlasConfig:
    """The same loop with a local checkpoint in one seat.

    Raises:
        ConfigError: that seat takes no model.
    """
    llm = config.llm_of(role)
    if llm is None or (role == "student" and config.agent.type not in ("openai", "litellm")):
        raise ConfigError(f"The {role} of this loop is no model.", "Name a loop whose seat holds a model.")
    new = llm.model_copy(update={"provider": "local", "model": model, "api_base": None, "api_key_env": None})
    if role == "teacher":
        return config.model_copy(update={"teacher": config.teacher.model_copy(update={"llm": new})})
    kept = (
        {} if config.teacher.llm else {"teacher": config.teacher.model_copy(update={"llm": config.llm_of("teacher")})}
    )
    return config.model_copy(update={"agent": config.agent.model_copy(update={"llm": new}), **kept})


def compare(before: Sequence[Played], after: Sequence[Played]) -> Comparison:
    """What two arms on the same tasks say.

    Raises:
        ConfigError: no task was finished by both.
    """
    pairs = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if one.value is not None and other.value is not None
    ]
    if not pairs:
        raise ConfigError(
            "No task has a reward in both arms.", "Give the loop a check, and see that its models answer."
        )
    old, new = [[pair[side].value or 0.0 for pair in pairs] for side in (0, 1)]
    better = sum(two > one for one, two in zip(old, new, strict=True))
    worse = sum(two < one for one, two in zip(old, new, strict=True))
    return Comparison(
        n=len(pairs),
        masked=len(before) - len(pairs),
        before=wilson(sum(old), len(old)),
        after=wilson(sum(new), len(new)),
        gain=paired_difference(new, old),
        better=better,
        worse=worse,
        p_value=mcnemar_exact(better, worse),
        non_degradation=wilson(len(pairs) - worse, len(pairs)),
        tokens=(fmean(one.tokens for one, _ in pairs), fmean(other.tokens for _, other in pairs)),
        seconds=(median(one.seconds for one, _ in pairs), median(other.seconds for _, other in pairs)),
        cost_usd=(_cost([one for one, _ in pairs]), _cost([other for _, other in pairs])),
    )


def _cost(played: Sequence[Played]) -> float | None:
    known = [one.cost_usd for one in played if one.cost_usd is not None]
    return fmean(known) if known else None


def comparison_table(told: Comparison, names: tuple[str, str] = ("before", "after")) -> str:
    """The comparison as a Markdown table."""
    rows = [f"| on {told.n} tasks | {names[0]} | {names[1]} |", "|---|---|---|"]
    rows.append(f"| success (95 %) | {_interval(told.before)} | {_interval(told.after)} |")
    rows.append(f"| paired difference (95 %) | | {_interval(told.gain, signed=True)} |")
    rows.append(f"| only this one solved | {told.worse} | {told.better} (p = {told.p_value:.2g}) |")
    rows.append(f"| at least as good (95 %) | | {_interval(told.non_degradation)} |")
    rows.append(f"| tokens per task | {told.tokens[0]:,.0f} | {told.tokens[1]:,.0f} |")
    rows.append(f"| time until the answer, median | {told.seconds[0]:.3f} s | {told.seconds[1]:.3f} s |")
    if None not in told.cost_usd:
        rows.append(f"| cost per task | ${told.cost_usd[0]:.6f} | ${told.cost_usd[1]:.6f} |")
    if told.masked:
        rows.append(f"| left out: no verdict in one of the arms | {told.masked} | |")
    return "\n".join(rows)


def _interval(interval: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{interval.mean:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def recorded_loss(prepared: Prepared) -> float:
    """Mean cross-entropy in nats per token of the recorded replies to held-out questions, under the start model.

    Raises:
        ConfigError: nothing is held out.
    """
    import torch

    from atlas.train.encoding import encode
    from atlas.train.losses import LossRules, loss_of
    from atlas.train.network import load_network
    from atlas.train.sft import imitation_row

    samples = encode(prepared.chosen.evaluation, prepared.codec, max_tokens=prepared.longest).samples
    if not samples:
        raise ConfigError("Nothing is held out.", "Set data.eval_ratio above 0, and give sessions of two questions.")
    network = load_network(prepared.folder)
    total = sum(sample.learnt for sample in samples)
    loss = 0.0
    with torch.no_grad():
        for start in range(0, len(samples), 32):
            rows = [imitation_row(sample, 1 / total) for sample in samples[start : start + 32]]
            loss += float(loss_of(network, rows, LossRules(), torch.device("cpu"))[0])
    return loss
