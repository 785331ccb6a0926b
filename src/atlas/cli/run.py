"""`atlas run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypedDict

import click
from typing_extensions import Unpack

from atlas.cli.project import Project, project_options, read_environment
from atlas.schema import LANES, Lane

if TYPE_CHECKING:
    from atlas.config import AtlasConfig
    from atlas.runtime import Running, Runtime

EPILOG = """\b
Examples:
  atlas run --task "Which of our tickets are overdue?"
  atlas run --task "…" --lane paired --learning-key tickets --json
  atlas run --task - < task.txt
  atlas run --task "…" -- python my_agent.py          the program reads the task from stdin, prints its answer
  atlas run --task "…" -- my-agent --ask {prompt}     or takes it as an argument

\b
The answer goes to stdout, all else to stderr. With --json stdout has one JSON object, and with --json --stream one JSON
object for each event before it. Ctrl-C leaves a session that `atlas resume` continues.
"""


class Options(TypedDict):
    """The options of `atlas run`."""

    task: str | None
    lane: Lane | None
    learning_key: str
    tenant: str
    timeout: float | None
    stream: bool | None
    as_json: bool
    max_steps: int | None
    program: tuple[str, ...]


@click.command("run", epilog=EPILOG)
@project_options
@click.option("--task", help="What is asked; - reads it from stdin. Default: the task that `atlas env init` kept.")
@click.option("--lane", "--mode", type=click.Choice(LANES), help="This lane, whatever the router would say.")
@click.option("--learning-key", default="default", show_default=True, help="Groups sessions that learn together.")
@click.option("--tenant", default="default", show_default=True, help="Owner of the session and its memory.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds from the task to the answer.")
@click.option("--stream/--no-stream", default=None, help="Progress on stderr; by default on a terminal only.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--max-steps", type=click.IntRange(1, 10_000), help="Actions in the environment, where there is one.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENT]...]")
@click.pass_context
def command(context: click.Context, project: Project, **given: Unpack[Options]) -> None:
    """Take one task through the loop and print its answer.

    The agent is what the configuration says, or the PROGRAM behind two dashes.
    """
    from atlas.cli.discovered import current_discovery, keep_run
    from atlas.cli.play import Manner, play
    from atlas.schema import Task

    known = current_discovery(project)
    task = given["task"] or (known.task if known else None)
    if task is None:
        raise click.UsageError("Missing option '--task'.")
    said = sys.stdin.buffer.read() if task == "-" else task.encode("utf-8", "surrogateescape")
    prompt = said.decode("utf-8", "replace")  # bytes that are no UTF-8 become replacement characters
    if not prompt.strip():
        raise click.BadParameter("the task is empty", param_hint="--task")
    config = _configured(project, given)
    asked = Task(prompt=prompt, learning_key=given["learning_key"], tenant=given["tenant"])

    begun: list[Running] = []

    async def begin(runtime: Runtime) -> Running:
        begun.append(await runtime.start(asked, lane=given["lane"], metadata=config.metadata))
        return begun[0]

    code = play(config, project.folder, begin, Manner(stream=given["stream"], as_json=given["as_json"]))
    if known is not None and begun:
        keep_run(project.folder, begun[0].events)
    context.exit(code)


def _configured(project: Project, given: Options) -> AtlasConfig:
    """The project's configuration with what the command line says."""
    from atlas.config import AtlasConfig, ProcessAgentConfig

    changes: dict[str, object] = {}
    if given["program"]:
        command = given["program"]
        told = any("{prompt}" in part or "{task}" in part for part in command)
        agent = ProcessAgentConfig(type="process", command=command, input=None if told else "{prompt}")
        read_environment(project.folder, project.variables)
        config = project.known_config() or AtlasConfig(agent=agent)
        changes["agent"] = agent.model_copy(update={"llm": config.agent.llm})
    else:
        config = project.config()
    if given["timeout"] is not None:
        changes["orchestration"] = config.orchestration.model_copy(update={"session_timeout_seconds": given["timeout"]})
    if given["max_steps"] is not None:
        if config.environment is None:
            raise click.BadParameter("the configuration names no environment", param_hint="--max-steps")
        changes["environment"] = config.environment.model_copy(update={"max_steps": given["max_steps"]})
    return config.model_copy(update=changes)
