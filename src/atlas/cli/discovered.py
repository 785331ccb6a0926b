"""`atlas run` on what `atlas env init` found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from atlas.cli.project import GENERATED_CONFIG, Project
from atlas.discovery import FOLDER, Discovered, freshness, read_record
from atlas.schema import Event, rebuild
from atlas.schema.errors import DiscoveryError


def current_discovery(project: Project) -> Discovered | None:
    """The discovery that a run goes by; None where it goes by a configuration of the user's.

    Raises:
        DiscoveryError: what was found is not there any more.
    """
    if project.file != project.folder / GENERATED_CONFIG:
        return None
    discovered = read_record(project.folder)
    if discovered is None:
        return None
    state = freshness(discovered, project.folder)
    names = ", ".join(chosen.candidate.label for chosen in discovered.chosen)
    if state == "gone":
        raise DiscoveryError(f"The sources changed: {names} is not there as it was found.", "Run: atlas env init")
    if state == "changed":
        click.echo(f"atlas: the file of {names} changed since `atlas env init`; it is still there", err=True)
    return discovered


def keep_run(folder: Path, events: Sequence[Event]) -> None:
    """A line about a run in `.atlas/runs/`, without what was asked or answered: that is in the store."""
    session = rebuild(events)
    told = {
        "session_id": session.id,
        "status": session.status,
        "lane": session.route.lane if session.route else None,
        "policy": session.policy,
        "tokens": session.total_usage.tokens,
        "reward": session.reward.value if session.reward else None,
        "created_at": session.created_at.isoformat(),
        "config": GENERATED_CONFIG.as_posix(),
    }
    runs = folder / FOLDER / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    (runs / f"{session.id}.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
