"""`atlas learning`: the flip gate, the guarantee and the report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from atlas.cli.app import FAILED, OK
from atlas.cli.project import Project, project_options
from atlas.schema import Audience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas.evaluate import Guarantees, LearningReport
    from atlas.evidence import Guarantee
    from atlas.schema import Playbook
    from atlas.store import LedgerRow

Format = Literal["md", "json", "svg"]

GATE = """\b
Examples:
  atlas learning gate refunds                          every candidate of the key
  atlas learning gate refunds --entry 4f2a --dry-run   one of them, without letting it in
  atlas learning gate refunds --version 12             a version against no lessons at all
  atlas learning gate refunds --version 12 --against 9

\b
Each stored task that a lesson matches is done both with it and without it. A candidate passes, and enters trial, when
enough tasks were done (learning.flip_gate.min_tasks), at most `max_worse` of them fail with it that succeed without
it, and the reward is higher on average. Nobody is served by these sessions; they cost model calls. The agent's tools
are called as learning.compare.tools allows. Exit code 1 says that something did not pass.
"""
GUARANTEE = """\b
Examples:
  atlas learning guarantee --key refunds
  atlas learning guarantee --key refunds --delta 0.02 --json

\b
States whether it is shown, with 95 % confidence and however often one looks, that the agent with its lessons is not
worse than without any by more than delta of reward, and since when. Two kinds of sessions can show it: the caller's
own, in which chance withholds lessons, and stored tasks done both ways (atlas learning gate KEY --version N). Exit
code 1 says that it is not shown yet.
"""
REPORT = """\b
Examples:
  atlas learning report
  atlas learning report --key refunds --recent 100 --format json
  atlas learning report --key refunds --format svg --output refunds.svg
"""


@click.group("learning")
def command() -> None:
    """Test lessons on stored tasks, state the guarantee, report on learning."""


_TENANT = click.option("--tenant", default="default", show_default=True, help="Whose sessions.")


@command.command("gate", epilog=GATE)
@click.argument("key")
@project_options
@_TENANT
@click.option("--audience", type=click.Choice(get_args(Audience)), default="student", show_default=True)
@click.option("--entry", metavar="ID", help="Only this candidate; the beginning of its id is enough.")
@click.option("--version", "versions", type=click.IntRange(min=1), help="Test a version instead of candidates.")
@click.option(
    "--against", type=click.IntRange(min=0), default=0, help="The version it is held against; 0 has no lessons."
)
@click.option("--dry-run", is_flag=True, help="Say what would pass; let nothing in.")
@click.pass_context
def gate(context: click.Context, project: Project, **given: object) -> None:
    """Test the candidates of KEY, or a version of its playbook, on its stored tasks."""
    from atlas.cli.gating import Asked, run_gate

    asked = Asked.model_validate({"version": given.pop("versions"), **given})
    context.exit(asyncio.run(run_gate(project, asked)))


@command.command("guarantee", epilog=GUARANTEE)
@project_options
@_TENANT
@click.option("--key", required=True, help="The learning key.")
@click.option("--delta", type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True), default=0.05, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def guarantee(context: click.Context, project: Project, *, tenant: str, key: str, delta: float, as_json: bool) -> None:
    """State what is shown about the learnt agent against the agent without lessons."""
    from atlas.evaluate import guarantees
    from atlas.runtime.telemetry import json_line

    rows, books = asyncio.run(_ledger(project, tenant, key))
    found = guarantees(rows, key, delta=delta)
    for line in [json_line(found, indent=2)] if as_json else _guarantee_text(found, books):
        click.echo(line)
    context.exit(OK if found.holds else FAILED)


@command.command("report", epilog=REPORT)
@project_options
@_TENANT
@click.option("--key", help="Only this learning key; a plot needs one.")
@click.option("--recent", type=click.IntRange(min=1), default=50, show_default=True, help="Sessions of the new window.")
@click.option("--format", "form", type=click.Choice(get_args(Format)), default="md", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="A file; else stdout.")
def report(project: Project, *, tenant: str, key: str | None, recent: int, form: Format, output: Path | None) -> None:
    """Recent sessions against those before them, curves of success and cost, transfer between keys and models."""
    from atlas.evaluate import learning_report

    if form == "svg" and key is None:
        raise click.UsageError("--format svg needs --key")
    rows, books = asyncio.run(_ledger(project, tenant, None))
    entries = [entry for book in books for entry in book.entries]
    text = _report_text(learning_report(rows, entries, tenant=tenant, recent=recent, key=key), form)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")


def _report_text(found: LearningReport, form: Format) -> str:
    from atlas.evaluate import markdown, svg
    from atlas.runtime.telemetry import json_line
    from atlas.schema.errors import ConfigError

    match form:
        case "json":
            return json_line(found, indent=2) + "\n"
        case "md":
            return "".join(f"{line}\n" for line in markdown(found))
        case "svg":
            if not found.groups:
                raise ConfigError("There is no finished session of this key.", "List them with: atlas session list")
            return svg(found.groups[0])


async def _ledger(project: Project, tenant: str, key: str | None) -> tuple[list[LedgerRow], list[Playbook]]:
    async with project.store() as store:
        rows = [row async for row in store.ledger(tenant, key)]
        return rows, [book for book in await store.shelf(tenant) if key in (None, book.key)]


def _guarantee_text(found: Guarantees, books: list[Playbook]) -> Iterator[str]:
    from atlas.cli.text import rolled_back_line
    from atlas.runtime.telemetry.words import safe

    margin = f"{found.online.delta:g}"
    yield f"key {safe(found.key)}: do its lessons cost less than {margin} of reward, if anything?"
    yield _statement("the caller's sessions", found.online)
    yield _statement("stored tasks done both ways", found.replayed)
    if found.unrewarded:
        yield f"  {found.unrewarded} sessions have no reward and are left out"
    for book in books:
        line = rolled_back_line(book)
        if line:
            yield f"  {line}"


def _statement(source: str, one: Guarantee) -> str:
    if not one.sessions:
        return f"  {source}: none yet"
    known = f"{one.sessions} sessions, estimated gain {one.estimate or 0.0:+.3f}, e-value {one.e_value:.3g}"
    if one.since is None:
        return f"  {source}: not shown yet ({known}, {1 / (1 - one.confidence):.0f} is needed)"
    return f"  {source}: yes, with {one.confidence:.0%} confidence, since {one.since:%Y-%m-%d %H:%M} UTC ({known})"
