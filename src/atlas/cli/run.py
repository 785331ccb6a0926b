"""`atlas run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypedDict

import click
from typing_extensions import Unpack

from atlas.cli.project import Project, project_options
from atlas.schema import LANES, Lane

if TYPE_CHECKING:
    from atlas.runtime import Running, Runtime

EPILOG = """\b
Examples:
  atlas run --task "Which of our tickets are overdue?"
  atlas run --task "…" --lane paired --learning-key tickets --json
  atlas run --task - < task.txt

\b
The answer goes to stdout, all else to stderr. With --json stdout has one JSON object, and with --json --stream one JSON
object for each event before it. Ctrl-C leaves a session that `atlas resume` continues.
"""


class Options(TypedDict):
    """The options of `atlas run`."""

    task: str
    lane: Lane | None
    learning_key: str
    tenant: str
    timeout: float | None
    stream: bool | None
    as_json: bool


@click.command("run", epilog=EPILOG)
@project_options
@click.option("--task", required=True, help="What is asked; - reads it from stdin.")
@click.option("--lane", "--mode", type=click.Choice(LANES), help="This lane, whatever the router would say.")
@click.option("--learning-key", default="default", show_default=True, help="Groups sessions that learn together.")
@click.option("--tenant", default="default", show_default=True, help="Owner of the session and its memory.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds from the task to the answer.")
@click.option("--stream/--no-stream", default=None, help="Progress on stderr; by default on a terminal only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def command(context: click.Context, project: Project, **given: Unpack[Options]) -> None:
    """Take one task through the loop and print its answer."""
    from atlas.cli.play import Manner, play
    from atlas.schema import Task

    said = sys.stdin.buffer.read() if given["task"] == "-" else given["task"].encode("utf-8", "surrogateescape")
    prompt = said.decode("utf-8", "replace")  # bytes that are no UTF-8 become replacement characters
    if not prompt.strip():
        raise click.BadParameter("the task is empty", param_hint="--task")
    config = project.config()
    if given["timeout"] is not None:
        orchestration = config.orchestration.model_copy(update={"session_timeout_seconds": given["timeout"]})
        config = config.model_copy(update={"orchestration": orchestration})
    asked = Task(prompt=prompt, learning_key=given["learning_key"], tenant=given["tenant"])

    async def begin(runtime: Runtime) -> Running:
        return await runtime.start(asked, lane=given["lane"], metadata=config.metadata)

    context.exit(play(config, project.folder, begin, Manner(stream=given["stream"], as_json=given["as_json"])))
