"""`atlas resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.runtime import Running, Runtime


@click.command("resume", epilog="\b\nExamples:\n  atlas resume\n  atlas resume 0190b7a0")
@click.argument("session_id", metavar="[ID]", required=False)
@project_options
@click.option("--stream/--no-stream", default=None, help="Progress on stderr; by default on a terminal only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def command(
    context: click.Context, project: Project, *, session_id: str | None, stream: bool | None, as_json: bool
) -> None:
    """Continue an interrupted session; without ID the newest one. Finished model and tool calls are not paid again."""
    from atlas.cli.play import Manner, play

    async def begin(runtime: Runtime) -> Running:
        return await runtime.resume(session_id or await _newest(runtime))

    context.exit(play(project.config(), project.folder, begin, Manner(stream=stream, as_json=as_json)))


async def _newest(runtime: Runtime) -> str:
    from atlas.schema.errors import ConfigError

    for row in await runtime.store.interrupted():
        return row.id
    raise ConfigError("There is no interrupted session.", "List all with: atlas session list")
