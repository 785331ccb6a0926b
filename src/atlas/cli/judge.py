"""`atlas judge`: score answers, hold judges against gold, attack them, and see whether they drift."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.app import FAILED
from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.cli.gold import GoldRow
    from atlas.config import AtlasConfig
    from atlas.evidence import Interval
    from atlas.judges import AttackReport, GoldCase
    from atlas.judges.calibration import Drift
    from atlas.schema import Reward

AT_ONCE = 8
"""Model calls at once while gold is judged."""
FILE = click.Path(dir_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.group("judge")
def command() -> None:
    """Score answers, and judge the judges."""


@command.command(
    "score",
    epilog="""\b
Examples:
  atlas judge score --task "What is 6 x 7?" --answer 42
  atlas judge score --task "Name a fruit" --answer "a pear" --answer "a brick"
  atlas judge score --session 0190b7a0 --json""",
)
@project_options
@click.option("--task", help="What was asked.")
@click.option("--answer", "answers", multiple=True, help="The answer to score; several are scored each on its own.")
@click.option("--session", "session_id", metavar="ID", help="A stored session instead, with all that happened in it.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens the judges may spend.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each answer.")
def score(
    project: Project,
    *,
    task: str | None,
    answers: tuple[str, ...],
    session_id: str | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Score answers, or a stored session, by the configured judges. Nothing is stored.

    Exits with 1 where no judge could tell.
    """
    from atlas.cli.judge_text import best_line, reward_text

    if (session_id is None) != (task is not None and bool(answers)) or (session_id and (task or answers)):
        raise click.UsageError("give --task and --answer, or --session")
    if session_id is not None:
        rewards = [asyncio.run(_score_session(project, session_id, max_tokens))]
    else:
        rewards = asyncio.run(_score(project, task or "", answers, max_tokens))
    for reward in rewards:
        click.echo(reward.model_dump_json() if as_json else reward_text(reward))
    if not as_json and len(rewards) > 1:
        click.echo(best_line(rewards))
    if any(reward.value is None for reward in rewards):
        click.get_current_context().exit(FAILED)


@command.command(
    "calibrate",
    epilog="""\b
Examples:
  atlas judge calibrate --gold gold.jsonl
  atlas judge calibrate --gold gold.jsonl --output judges.json   # then rim.weights: judges.json
A line of the file: {"gold": 1, "session_id": "0190b7a0"}, {"gold": 0, "task": "…", "answer": "…"}
or {"gold": 1, "scores": {"judge": 0.9}}.""",
)
@project_options
@click.option("--gold", type=FILE, required=True, help="JSONL: truth, with scores, a session, or a task and answer.")
@click.option("--output", type=OUT, help="Write fitted weights here, for rim.weights.")
@click.option("--escalation", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Share asked further.")
@click.option("--unsigned", is_flag=True, help="No judge may count against what it says.")
@click.option("--json", "as_json", is_flag=True, help="Reports and weights as one JSON object.")
def calibrate(
    project: Project,
    *,
    gold: Path,
    output: Path | None,
    escalation: float,
    unsigned: bool,
    as_json: bool,
) -> None:
    """Hold the judges against gold: agreement, kappa, biases, calibration; and fit the weights of a panel."""
    from atlas.cli.gold import read_gold
    from atlas.cli.judge_text import calibration_lines
    from atlas.judges import FitRules, fit_panel
    from atlas.judges.calibration import report_of
    from atlas.schema.errors import ConfigError

    cases, mean = asyncio.run(_cases(project, read_gold(gold)))
    names = sorted({name for case in cases for name in case.scores})
    reports = [one for one in (report_of(name, cases) for name in names) if one is not None]
    problem, weights = None, None
    try:
        weights = fit_panel(cases, FitRules(escalation=escalation, signed=not unsigned))
    except ConfigError as error:
        if output is not None or not reports:
            raise
        problem = str(error)
    if weights is not None and output is not None:
        weights.save(output)
    if as_json:
        told = {"judges": [one.model_dump() for one in reports], "weights": weights and weights.model_dump()}
        click.echo(json.dumps(told | {"mean_reward": mean and mean.model_dump()}))
        return
    for line in calibration_lines(reports, weights, mean):
        click.echo(line)
    if problem:
        click.echo(f"atlas: no weights were fitted: {problem}", err=True)


@command.command(
    "attack",
    epilog="\b\nExample:\n  atlas judge attack --output attacks.json   # then rim.attacks: attacks.json",
)
@project_options
@click.option("--output", type=OUT, help="Write the report here, for rim.attacks.")
@click.option("--limit", type=click.IntRange(min=1), help="Attacks for each judge; all where it is left out.")
@click.option("--at-once", type=click.IntRange(min=1), default=4, show_default=True, help="Calls at once.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def attack_command(project: Project, *, output: Path | None, limit: int | None, at_once: int, as_json: bool) -> None:
    """Show every configured judge answers that are wrong on purpose, and count those it lets through.

    Exits with 1 where a judge lets more than rim.max_fooled through.
    """
    from atlas.cli.judge_text import attack_lines
    from atlas.judges import AttackFile

    config = project.config()
    found = AttackFile(reports=tuple(asyncio.run(_attack(config, project.folder, limit, at_once))))
    if output is not None:
        found.save(output)
    barred = found.barred(config.rim.max_fooled)
    for line in [found.model_dump_json()] if as_json else attack_lines(found, barred):
        click.echo(line)
    if barred or any(not one.asked for one in found.reports):
        click.get_current_context().exit(FAILED)


@command.command("drift", epilog="\b\nExample:\n  atlas judge drift --baseline 200")
@project_options
@click.option(
    "--baseline", type=click.IntRange(min=20), default=100, show_default=True, help="Earliest scores of each."
)
@click.option("--learning-key", help="Only sessions of this key.")
@click.option("--limit", type=click.IntRange(min=1), default=5000, show_default=True, help="Newest sessions read.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each judge.")
def drift_command(project: Project, *, baseline: int, learning_key: str | None, limit: int, as_json: bool) -> None:
    """Compare each judge's recorded scores with its earliest ones. Exits with 1 where a judge drifts."""
    from atlas.cli.judge_text import drift_line

    found = asyncio.run(_drift(project, baseline, learning_key, limit))
    for judge, drift in found.items():
        told = {"judge": judge, "drift": drift and drift.model_dump()}
        click.echo(json.dumps(told) if as_json else drift_line(judge, drift, baseline))
    if not found:
        click.echo("atlas: no stored session has a verdict of a judge", err=True)
    if any(drift and drift.alarm_after is not None for drift in found.values()):
        click.get_current_context().exit(FAILED)


async def _score(project: Project, task: str, answers: Sequence[str], max_tokens: int | None) -> list[Reward]:
    from atlas.judges import Piece
    from atlas.runtime.scoring import open_scorer

    async with open_scorer(project.config(), project.folder, max_tokens=max_tokens) as scorer:
        return await scorer.score([Piece(prompt=task, answer=answer) for answer in answers])


async def _score_session(project: Project, session_id: str, max_tokens: int | None) -> Reward:
    from atlas.runtime.scoring import open_scorer
    from atlas.schema.errors import ConfigError

    async with project.store() as store:
        session = await store.session(session_id)
    if session is None:
        raise ConfigError(f"There is no session {session_id}.", "See: atlas session list")
    async with open_scorer(project.config(), project.folder, max_tokens=max_tokens) as scorer:
        return await scorer.score_session(session)


async def _cases(project: Project, rows: list[GoldRow]) -> tuple[list[GoldCase], Interval | None]:
    """Every row as a case, and the corrected mean reward where stored sessions allow one."""
    from atlas.cli.gold import judged_cases, recorded_case, stored_cases
    from atlas.runtime.scoring import open_judges

    cases = [recorded_case(row) for row in rows if row.scores is not None]
    fresh = [row for row in rows if row.task is not None]
    if fresh:
        async with open_judges(project.config(), project.folder) as judges:
            with _progress(len(fresh) * len(judges), "judging") as told:
                cases += await judged_cases(fresh, judges, AT_ONCE, told)
    stored = [row for row in rows if row.session_id is not None]
    if not stored:
        return cases, None
    async with project.store() as store:
        more, rewards = await stored_cases(stored, store)
        others = {row.id: row.reward async for row in store.sessions(status="succeeded") if row.reward is not None}
    return cases + more, _corrected(stored, rewards, others)


def _corrected(rows: list[GoldRow], rewards: dict[str, float], others: dict[str, float]) -> Interval | None:
    from atlas.judges.calibration import powered_mean

    pairs = [
        (row.gold, value)
        for row in rows
        for session_id, value in rewards.items()
        if row.session_id and session_id.startswith(row.session_id)
    ]
    rest = [value for session_id, value in others.items() if session_id not in rewards]
    return powered_mean([one for one, _ in pairs], [one for _, one in pairs], rest) if len(pairs) >= 2 else None


async def _attack(config: AtlasConfig, folder: Path, limit: int | None, at_once: int) -> list[AttackReport]:
    from atlas.judges import attack
    from atlas.judges.attacks import probes
    from atlas.models import Caller
    from atlas.runtime.scoring import Unkept, open_judges
    from atlas.schema.errors import ConfigError

    async with open_judges(config, folder) as judges:
        if not judges:
            raise ConfigError("No model judge is configured.", "Name one: rim.small_model")
        with _progress(len(judges) * len(probes(limit)), "attacking") as told:
            return [
                await attack(judge, lambda name: Caller(Unkept(name)), limit=limit, at_once=at_once, told=told)
                for judge in judges
            ]


async def _drift(project: Project, baseline: int, learning_key: str | None, limit: int) -> dict[str, Drift | None]:
    from atlas.judges.calibration import drift_of

    scores: dict[str, list[float]] = {}
    async with project.store() as store:
        ids = [row.id async for row in store.sessions(status="succeeded", learning_key=learning_key, limit=limit)]
        for session_id in reversed(ids):
            session = await store.session(session_id)
            for verdict in session.reward.verdicts if session and session.reward else ():
                if not verdict.judge.startswith("check:"):
                    scores.setdefault(verdict.judge, []).append(verdict.score)
    return {judge: drift_of(told[:baseline], told[baseline:]) for judge, told in sorted(scores.items())}


@contextmanager
def _progress(length: int, label: str) -> Generator[Callable[[], object]]:
    """A bar on stderr where somebody watches."""
    import sys

    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield lambda: bar.update(1)
