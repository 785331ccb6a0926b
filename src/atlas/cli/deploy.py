"""`atlas deploy`: a trained checkpoint into the loop, on evidence, and out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.project import Project, project_options
from atlas.cli.text import columns

if TYPE_CHECKING:
    from atlas.deploy import Tried
    from atlas.schema import Lane, Policy, PolicyRole, Task
    from atlas.store.ledger import Ledger

ROLE = click.Choice(["student", "teacher"])
ROLE_OPTION = click.option("--role", type=ROLE, default="teacher", show_default=True, help="The seat.")


@click.group("deploy")
def command() -> None:
    """Put a trained checkpoint into the loop, on evidence, and take it out again."""


@command.command(
    "canary",
    epilog="\b\nExamples:\n  atlas deploy canary runs/grpo/final --role teacher\n"
    "  atlas deploy canary runs/grpo/final --role teacher --tasks 200 --lane paired",
)
@click.argument("checkpoint")
@project_options
@ROLE_OPTION
@click.option("--tasks", type=click.IntRange(min=1), default=100, show_default=True, help="Tasks at most.")
@click.option("--lane", type=click.Choice(["auto", "paired", "coach"]), help="The lane; the loop chooses by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def canary(
    project: Project, *, checkpoint: str, role: PolicyRole, tasks: int, lane: Lane | None, as_json: bool
) -> None:
    """Play approved tasks with CHECKPOINT and without it, none of which it was trained on.

    It stops as soon as the evidence decides; it may be called again for more. One that harms is rolled back.
    """
    from atlas.train.evaluation import comparison_table

    tried = asyncio.run(_canary(project, checkpoint, role, tasks, lane))
    if as_json:
        return click.echo(tried.model_dump_json())
    click.echo(f"policy {tried.policy.id}, {tried.policy.state}: {tried.policy.reason}")
    if tried.comparison is not None:
        click.echo(comparison_table(tried.comparison, ("serving", "canary")))
    if tried.verdict == "helps" and tried.policy.state == "canary":
        click.echo(f"Let it serve by: atlas deploy promote {tried.policy.id}")
    return None


@command.command(
    "promote",
    epilog="\b\nExamples:\n  atlas deploy promote 0190b7a0\n"
    '  atlas deploy promote 0190b7a0 --note "compared by hand on last week\'s tickets"',
)
@click.argument("policy_id")
@project_options
@click.option("--note", default="", help="Your word, where the evidence does not decide.")
def promote(project: Project, *, policy_id: str, note: str) -> None:
    """Let a policy serve. Needs evidence that it helps, or a note."""
    policy = asyncio.run(_promote(project, policy_id, note))
    click.echo(f"policy {policy.id} serves as {policy.role}: {policy.reason}")
    click.echo(f"In the configuration: llm: {{provider: local, model: .atlas/policies/{policy.role}}}")


@command.command("rollback", epilog='\b\nExample:\n  atlas deploy rollback --role teacher --note "guidance got worse"')
@project_options
@ROLE_OPTION
@click.option("--base", help="Checkpoint that serves where none did before.")
@click.option("--note", default="", help="Why.")
def rollback(project: Project, *, role: PolicyRole, base: str | None, note: str) -> None:
    """Take the serving policy out; the one before it serves again."""
    policy = asyncio.run(_rollback(project, role, base, note))
    click.echo(f"{'the base checkpoint' if policy is None else f'policy {policy.id}'} serves as {role}")


@command.command("status", epilog="\b\nExamples:\n  atlas deploy status\n  atlas deploy status --json")
@project_options
@click.option("--role", type=ROLE, help="Only this seat.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a policy.")
def status(project: Project, *, role: PolicyRole | None, as_json: bool) -> None:
    """List the policies with their evidence and the run and sessions they come from."""
    told = asyncio.run(_status(project, role))
    for line in [policy.model_dump_json() for policy, _ in told] if as_json else _table(told):
        click.echo(line)


def _table(told: list[tuple[Policy, int]]) -> Iterator[str]:
    rows = [("POLICY", "ROLE", "STATE", "SINCE", "WEIGHTS", "RUN", "SESSIONS", "REASON")]
    for policy, sessions in told:
        state = (policy.role, policy.state, f"{policy.changed_at:%Y-%m-%d %H:%M}")
        made = (policy.sha256[:12], policy.run or "-", str(sessions) if sessions else "-")
        rows.append((policy.id, *state, *made, policy.reason))
    return columns(rows)


@asynccontextmanager
async def _ledger(project: Project) -> AsyncGenerator[tuple[Ledger, Path]]:
    """The project's ledger and state folder."""
    from atlas.cli.export import project_source
    from atlas.runtime import STATE_FOLDER
    from atlas.store.ledger import open_ledger

    async with open_ledger(project_source(project).place) as ledger:
        yield ledger, project.folder / STATE_FOLDER


async def _canary(project: Project, checkpoint: str, role: PolicyRole, count: int, lane: Lane | None) -> Tried:
    from atlas.deploy import Trial, enter, try_out
    from atlas.memory import MemoryRules
    from atlas.train import checkpoint_folder

    config = project.config()
    async with _ledger(project) as (ledger, state):
        policy = await enter(ledger, state, checkpoint_folder(checkpoint), role=role, source=checkpoint)
        tasks = await _tasks(project, ledger, policy, count)
        trial = Trial(config, project.folder, tasks, lane)
        return await try_out(ledger, policy, trial, rules=MemoryRules())


async def _tasks(project: Project, ledger: Ledger, policy: Policy, count: int) -> list[Task]:
    """Questions of approved sessions that the policy's run did not learn from, the newest first."""
    from atlas.cli.export import project_source
    from atlas.schema.errors import ConfigError
    from atlas.train import DataConfig, read_examples

    read = await read_examples(project_source(project).place, DataConfig(), role="student", take="imitate")
    learnt = set(await ledger.sessions_of(policy.run)) if policy.run else set[str]()
    known = {task.identity for session, task in read.tasks.items() if session in learnt}
    fresh = {task.identity: task for task in reversed(read.tasks.values()) if task.identity not in known}
    if not fresh:
        raise ConfigError(
            "There is no approved session with a reward that this checkpoint did not learn from.",
            "Record and approve more, or train with data.eval_ratio above 0.",
        )
    done = policy.evidence.pairs  # A trial that goes on plays other tasks.
    return list(fresh.values())[done : done + count]


async def _found(ledger: Ledger, policy_id: str) -> Policy:
    from atlas.schema.errors import ConfigError

    found = [policy for policy in await ledger.policies() if policy.id.startswith(policy_id)]
    if len(found) != 1:
        raise ConfigError(f"{len(found)} policies begin with {policy_id}.", "See `atlas deploy status`.")
    return found[0]


async def _promote(project: Project, policy_id: str, note: str) -> Policy:
    from atlas.deploy import promote
    from atlas.memory import MemoryRules

    async with _ledger(project) as (ledger, state):
        return await promote(ledger, state, await _found(ledger, policy_id), rules=MemoryRules(), note=note)


async def _rollback(project: Project, role: PolicyRole, base: str | None, note: str) -> Policy | None:
    from atlas.deploy import roll_back
    from atlas.train import checkpoint_folder

    folder = None if base is None else checkpoint_folder(base)
    async with _ledger(project) as (ledger, state):
        return await roll_back(ledger, state, role, base=folder, note=note)


async def _status(project: Project, role: PolicyRole | None) -> list[tuple[Policy, int]]:
    async with _ledger(project) as (ledger, _):
        return [
            (policy, len(await ledger.sessions_of(policy.run)) if policy.run else 0)
            for policy in await ledger.policies(role)
        ]
