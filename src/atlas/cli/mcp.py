"""`atlas mcp`: the loop as a server of tools, for agents that speak the Model Context Protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import click
from pydantic import Field

from atlas.agents.remote import Asked, Handed, RemoteAgent
from atlas.cli.project import Project, project_options
from atlas.schema import Noun, Session, Task
from atlas.schema.errors import AtlasError, ConfigError

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from atlas.config import AtlasConfig
    from atlas.runtime import Running, Runtime

EPILOG = """\b
Example, in the settings of an agent that takes MCP servers:
  {"mcpServers": {"atlas": {"command": "atlas", "args": ["mcp", "--path", "/path/of/the/project"]}}}

\b
The agent calls begin_task before it works and finish_task when it is done. A teacher, where the configuration names
one, reviews the answer; its guidance comes back, and the agent tries again. Needs the package mcp: atlas-loop[mcp].
"""
INSTRUCTIONS = (
    "Before you work on a task, call begin_task and heed the lessons it returns. When you are done, call finish_task "
    "with your answer, and with a score from 0 to 1 if you have verified the result. If it returns guidance, do the "
    "task again and call finish_task again."
)
CHECK = {"type": "python", "name": "outcome", "import_path": "atlas.agents.remote:reported_outcome"}


class Begun(Noun):
    """What an agent is told at the beginning."""

    id: str
    """Names the task in `finish_task`."""
    lessons: str
    """What was learnt from earlier tasks of this kind, one a line."""


class Finished(Noun):
    """What an agent is told at the end."""

    done: bool
    """Whether the task is over; else it is to be done again."""
    guidance: str = ""
    """What to change."""
    accepted: bool | None = None
    """Whether a reviewer accepted the answer; nothing where nobody reviewed it."""


@click.command("mcp", epilog=EPILOG)
@project_options
def command(project: Project) -> None:
    """Offer playbooks to any agent that speaks MCP, and take outcomes, over stdin and stdout."""
    try:
        import mcp  # noqa: F401  # pyright: ignore[reportUnusedImport] - told before anything is opened
    except ImportError:
        raise ConfigError("atlas mcp needs the package mcp.", "Install atlas-loop[mcp].") from None
    asyncio.run(_serve(project))


async def _serve(project: Project) -> None:
    from atlas.runtime import open_runtime

    desk = Desk()
    config = _configured(project)
    async with await open_runtime(config, folder=project.folder, agent=desk.agent) as runtime:
        await desk.server(runtime).run_stdio_async()
        await desk.abandon()


def _configured(project: Project) -> AtlasConfig:
    """The project's configuration with the far agent as its student; what it reports is checked where it reports."""
    from atlas.cli.project import read_environment
    from atlas.config import AtlasConfig, GivenAgentConfig, PythonCheck

    read_environment(project.folder, project.variables)
    known = project.known_config()
    agent = GivenAgentConfig(type="given", name="mcp", llm=known.agent.llm if known else None)
    config = known or AtlasConfig(agent=agent)
    checks = (*config.checks, PythonCheck.model_validate(CHECK))
    return config.model_copy(update={"agent": agent, "environment": None, "checks": checks})


@dataclass(frozen=True, slots=True)
class Way:
    """One task under way."""

    running: Running
    """Its session."""
    end: asyncio.Task[Session | AtlasError]
    """How it ended."""
    turns: asyncio.Queue[Asked]
    """What the far agent is asked."""


class Desk:
    """The tasks that are under way, and the two tools."""

    def __init__(self) -> None:
        self.agent = RemoteAgent("mcp", self._asked)
        self._runtime: Runtime | None = None
        self._turns: dict[str, asyncio.Queue[Asked]] = {}
        self._ways: dict[str, Way] = {}

    def server(self, runtime: Runtime) -> MCPServer:
        """The MCP server in front of a runtime."""
        from mcp.server.mcpserver import MCPServer

        self._runtime = runtime
        server = MCPServer("atlas", instructions=INSTRUCTIONS, log_level="ERROR")
        server.add_tool(self.begin_task)
        server.add_tool(self.finish_task)
        return server

    async def begin_task(
        self,
        task: Annotated[str, Field(min_length=1, description="The task in words.")],
        kind: Annotated[str, Field(description="Tasks of one kind learn from each other.")] = "default",
    ) -> Begun:
        """Begin a task: returns its id and the lessons that were learnt from earlier tasks of its kind."""
        assert self._runtime is not None
        running = await self._runtime.start(Task(prompt=task, learning_key=kind))
        way = self._ways[running.session_id] = Way(
            running, asyncio.create_task(_ended(running)), self._turns_of(running)
        )
        asked = await self._next(way)
        if asked is None:
            raise _told(await way.end)
        return Begun(id=running.session_id, lessons=asked.playbook)

    async def finish_task(
        self,
        id: Annotated[str, Field(description="As begin_task returned it.")],
        answer: Annotated[str, Field(min_length=1, description="Your answer, or what you did.")],
        score: Annotated[float | None, Field(ge=0, le=1, description="How well it went, if you verified it.")] = None,
    ) -> Finished:
        """Hand in the answer to a task; returns guidance where it is to be done again."""
        way = self._ways.get(id)
        if way is None:
            raise _told(ConfigError(f"No task with the id {id!a} is under way.", "Call begin_task first."))
        try:
            self.agent.hand_in(id, Handed(answer=answer, score=score))
        except ConfigError as error:
            raise _told(error) from None
        again = await self._next(way)
        if again is not None:
            return Finished(done=False, guidance=again.guidance)
        end = await way.end
        if isinstance(end, AtlasError):
            raise _told(end)
        return Finished(done=True, accepted=end.accepted)

    async def abandon(self) -> None:
        """Interrupt what nobody will finish any more; it can be resumed."""
        for way in list(self._ways.values()):
            await way.running.interrupt()
            way.end.cancel()

    def _asked(self, asked: Asked) -> None:
        self._turns.setdefault(asked.session_id, asyncio.Queue()).put_nowait(asked)

    def _turns_of(self, running: Running) -> asyncio.Queue[Asked]:
        return self._turns.setdefault(running.session_id, asyncio.Queue())

    async def _next(self, way: Way) -> Asked | None:
        """The session's next turn; None when it has ended without one."""
        turn = asyncio.ensure_future(way.turns.get())
        await asyncio.wait([turn, way.end], return_when=asyncio.FIRST_COMPLETED)
        if turn.done():
            return turn.result()
        turn.cancel()
        self._turns.pop(way.running.session_id, None)
        self._ways.pop(way.running.session_id, None)
        return None


async def _ended(running: Running) -> Session | AtlasError:
    """The session once it has its answer, or why there is none."""
    try:
        return await running.answered()
    except AtlasError as error:
        return error


def _told(error: object) -> Exception:
    """An error whose words reach the agent: the protocol's own hides those of others."""
    from mcp.server.mcpserver.exceptions import ToolError

    return ToolError(str(error))
