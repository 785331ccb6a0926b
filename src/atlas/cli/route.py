"""`atlas route`: fit a router on recorded sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.schema import Session
    from atlas.triage import Routes


@click.group("route")
def command() -> None:
    """Fit the router on recorded sessions."""


@command.command(
    "fit",
    epilog="""\b
Examples:
  atlas route fit --output routes.json                # then adaptive_teaching.history.routes: routes.json
  atlas route fit --output routes.json --share 0.3    # supervise three sessions in ten
Sessions of the paired lane teach most: they show the first try alone and what supervision made of it.""",
)
@project_options
@click.option("--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), required=True, help="File.")
@click.option("--share", type=click.FloatRange(0, 1), help="Share of sessions to supervise; else by --least-gain.")
@click.option(
    "--least-gain",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Supervise where success becomes likelier by more than this.",
)
@click.option("--limit", type=click.IntRange(min=1), default=5000, show_default=True, help="Newest sessions read.")
def fit(project: Project, *, output: Path, share: float | None, least_gain: float, limit: int) -> None:
    """Fit where supervision changes the outcome: by key, words, the task's own past, and a look at the answer."""
    from atlas.triage import fit_routes, tried_of

    sessions = asyncio.run(_sessions(project, limit))
    routes = fit_routes(tried_of(sessions), share=share, least_gain=least_gain)
    routes.save(output)
    for line in _told(routes):
        click.echo(line)


async def _sessions(project: Project, limit: int) -> list[Session]:
    """The newest finished sessions, oldest first."""
    async with project.store() as store:
        ids = [row.id async for row in store.sessions(status="succeeded", limit=limit)]
        found = [await store.session(session_id) for session_id in reversed(ids)]
    return [session for session in found if session is not None]


def _told(routes: Routes) -> list[str]:
    arms = {"before the run": routes.before} | ({"after a look": routes.after} if routes.after else {})
    lines: list[str] = []
    for when, one in arms.items():
        reads = ", ".join(("learning key", *one.alone.groups))
        lines.append(f"{when}: reads {reads}; keys {', '.join(one.alone.keys)}")
        lines.append(
            f"  {one.alone.outcomes} outcomes alone, {one.helped.outcomes} with supervision; calibration error "
            f"{one.alone.calibration_error:.3f} and {one.helped.calibration_error:.3f}, cross-validated"
        )
        lines.append(f"  supervises {one.share:.0%} of such tasks: where it gains more than {one.least_gain:.2f}")
    if routes.after is None:
        lines.append("a look at the answer foretells no more than the task does")
    return lines
