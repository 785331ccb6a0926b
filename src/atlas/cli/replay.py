"""`atlas replay`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from atlas.cli.app import FAILED, OK
from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.config import AtlasConfig
    from atlas.runtime import Running, Runtime

EPILOG = """\b
Examples:
  atlas replay 0190b7a0                          offline, against its own record
  atlas replay 0190b7a0 --with-playbook 7        anew, with another version of the playbook
  atlas replay 0190b7a0 --policy openai:gpt-5    anew, with another student

\b
Without an option nothing is asked of any model and nothing is stored: every request has to be the recorded one, byte
for byte, and so has every plan, attempt, review and answer; exit code 1 says that something differs. With an option
the task is played anew in the same lane, as a session of its own.
"""


@click.command("replay", epilog=EPILOG)
@click.argument("session_id", metavar="ID")
@project_options
@click.option("--with-playbook", type=click.IntRange(min=0), help="Version of the student's playbook; 0 is none.")
@click.option("--policy", metavar="PROVIDER:MODEL", help="Another model for the student.")
@click.pass_context
def command(
    context: click.Context, project: Project, *, session_id: str, with_playbook: int | None, policy: str | None
) -> None:
    """Play a recorded session again: offline and byte for byte, or with one thing changed."""
    config = project.config()
    if with_playbook is None and policy is None:
        context.exit(asyncio.run(_replay(config, project, session_id)))
    from atlas.cli.play import Manner, play

    async def begin(runtime: Runtime) -> Running:
        return await runtime.rerun(session_id, playbook_version=with_playbook)

    changed = config if policy is None else _with_student(config, policy)
    context.exit(play(changed, project.folder, begin, Manner(stream=None, as_json=False)))


async def _replay(config: AtlasConfig, project: Project, session_id: str) -> int:
    from atlas.runtime import open_runtime

    async with await open_runtime(config, folder=project.folder) as runtime:
        replayed = await runtime.replay(session_id)
    for difference in replayed.differences:
        click.echo(difference)
    click.echo(
        f"session {replayed.session_id}: {replayed.model_calls} model calls and {replayed.tool_calls} tool calls "
        f"from the record, {replayed.compared} records compared, {len(replayed.differences)} differences"
    )
    return OK if replayed.identical else FAILED


def _with_student(config: AtlasConfig, policy: str) -> AtlasConfig:
    from atlas.config import ModelAgentConfig, config_for
    from atlas.schema.errors import ConfigError

    other = config_for(policy).agent
    if not isinstance(config.agent, ModelAgentConfig) or not isinstance(other, ModelAgentConfig):
        raise ConfigError("Only a student that is a model can be changed.", "Leave out --policy.")
    return config.model_copy(update={"agent": config.agent.model_copy(update={"llm": other.llm})})
