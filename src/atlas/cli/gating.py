"""The flip gate of `atlas learning gate`: candidates and versions on stored tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from atlas.cli.app import FAILED, OK
from atlas.cli.project import Project
from atlas.config import AtlasConfig, FlipGateConfig
from atlas.memory import next_version, passed
from atlas.runtime import Runtime, Trials, open_runtime, suite, try_entry, try_version
from atlas.runtime.learning import may_repeat
from atlas.runtime.telemetry.words import safe
from atlas.schema import Audience, Entry, Noun, Playbook
from atlas.schema.errors import ConfigError, StaleVersion

PUBLISH_TRIES = 100


class Asked(Noun):
    """What the command line asks for."""

    key: str
    """The learning key."""
    tenant: str
    """Its owner."""
    audience: Audience
    """Whose playbook."""
    entry: str | None
    """Only the candidate whose id begins so."""
    version: int | None
    """Test this version instead of candidates."""
    against: int
    """The version it is held against."""
    dry_run: bool
    """Let nothing in."""


async def run_gate(project: Project, asked: Asked) -> int:
    """Play the trials and let pass what passes; gives the exit code.

    Raises:
        ConfigError: the agent may not be asked twice, or there is no such entry or version.
    """
    config = project.config()
    if not may_repeat(config, project.folder):
        raise ConfigError(
            "A tool of the agent may act in the world, so its tasks are not done again.",
            "Mark harmless tools with @tool(effect='none'), or set learning.compare.tools for an agent in a sandbox.",
        )
    async with await open_runtime(_measuring(config), folder=project.folder) as runtime:
        if asked.version is not None:
            return await _version(runtime, asked, config.learning.flip_gate)
        return await _candidates(runtime, asked, config.learning.flip_gate)


def _measuring(config: AtlasConfig) -> AtlasConfig:
    """Comparing is what the command is for, also where it is switched off for ordinary sessions."""
    compare = config.learning.compare.model_copy(update={"enabled": True})
    return config.model_copy(update={"learning": config.learning.model_copy(update={"compare": compare})})


async def _candidates(runtime: Runtime, asked: Asked, rules: FlipGateConfig) -> int:
    book = await runtime.store.playbook(asked.tenant, asked.key, asked.audience)
    candidates = [
        entry for entry in book.entries if entry.state == "candidate" and entry.id.startswith(asked.entry or "")
    ]
    if asked.entry is not None and not candidates:
        raise ConfigError(f"There is no candidate {asked.entry}.", f"See: atlas playbook show {asked.key}")
    if not candidates:
        click.echo("There is no candidate.")
    refused = 0
    for entry in candidates:
        sessions = await suite(runtime.store, asked.tenant, asked.key, limit=rules.tasks, entry=entry)
        good, why = _verdict(await try_entry(runtime, book, entry, sessions), rules)
        refused += not good
        if good and not asked.dry_run:
            good = await _let_in(runtime, asked, entry, why)
        click.echo(f"{entry.id} {'passes' if good else 'stays a candidate'}: {why}. {safe(entry.action, 80)}")
    return FAILED if refused else OK


async def _let_in(runtime: Runtime, asked: Asked, entry: Entry, why: str) -> bool:
    """Move the candidate into trial in the newest version; False where it is no candidate any more."""
    for _ in range(PUBLISH_TRIES):
        newest = await runtime.store.playbook(asked.tenant, asked.key, asked.audience)
        entries = passed(newest.entries, entry.id, why)
        if entries == newest.entries:
            return False
        try:
            await runtime.store.publish([next_version(newest, entries, f"flip gate: {entry.id}")])
        except StaleVersion:
            await asyncio.sleep(0.01)
            continue
        return True
    raise StaleVersion(f"Key {asked.key} changed {PUBLISH_TRIES} times meanwhile.", "Try again.")


async def _version(runtime: Runtime, asked: Asked, rules: FlipGateConfig) -> int:
    book = await _known(runtime, asked, asked.version or 0)
    await _known(runtime, asked, asked.against)
    sessions = await suite(runtime.store, asked.tenant, asked.key, limit=rules.tasks)
    trials = await try_version(runtime, book, asked.against, sessions)
    good, why = _verdict(trials, rules)
    gain = "" if trials.gain is None else f", mean gain {trials.gain:+.3f}"
    click.echo(f"version {asked.version} against {asked.against} {'passes' if good else 'does not pass'}: {why}{gain}")
    for trial in _worse(trials):
        click.echo(f"  worse: {trial}")
    return OK if good else FAILED


async def _known(runtime: Runtime, asked: Asked, version: int) -> Playbook:
    book = await runtime.store.playbook(asked.tenant, asked.key, asked.audience, version)
    if book.version != version:
        raise ConfigError(
            f"The playbook of {asked.key} has no version {version}.", f"See: atlas playbook show {asked.key}"
        )
    return book


def _verdict(trials: Trials, rules: FlipGateConfig) -> tuple[bool, str]:
    good, why = trials.verdict(min_tasks=rules.min_tasks, max_worse=rules.max_worse)
    return good, why + (f"; {trials.failed} gave no reward" if trials.failed else "")


def _worse(trials: Trials) -> Sequence[str]:
    return [f"session {one.replay_of}" for one in trials.trials if one.with_it < one.without_it]
