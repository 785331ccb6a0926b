"""Tools of MCP servers: one session for each server, kept as long as the agent lives, every call recorded."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.agents.base import Abilities, Agent, Output, Turn
from atlas.agents.tools import AnyTool
from atlas.config.agent import McpServerConfig
from atlas.models import Caller, OnText, parse_object
from atlas.models.http import expand_headers
from atlas.models.text import one_line
from atlas.schema import Effect, ToolCall, ToolSpec
from atlas.schema.errors import AgentError, ConfigError, ToolError

if TYPE_CHECKING:
    from mcp import Client, types

CONNECT_S = 30.0
"""Until a server has said what it offers."""


class McpTool:
    """One tool of a server."""

    def __init__(self, session: McpSession, spec: ToolSpec) -> None:
        self.spec = spec
        self._session = session

    async def run(self, call: ToolCall) -> str:
        """What it returns, as text; structured content as JSON.

        Raises:
            ToolError: the arguments are no JSON object, the server is gone, or the tool says that it failed.
        """
        try:
            arguments = parse_object(call.arguments.strip() or "{}")
        except ValueError as error:
            raise ToolError(f"The arguments of {call.name} are wrong: {one_line(error)}") from None
        return await self._session.call(call.name, arguments)


class McpSession:
    """The session with one server. It lives in a task of its own, opened at the first need and again after a loss."""

    def __init__(self, config: McpServerConfig, *, folder: Path) -> None:
        """Nothing is started yet; a program will run in `folder`.

        Raises:
            ConfigError: a header names a variable that is not set.
        """
        self._config = config
        self._folder = folder
        self._headers, _ = expand_headers(config.headers)
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._lock = asyncio.Lock()

    async def tools(self) -> list[McpTool]:
        """What the server offers, as far as the configuration lets it.

        Raises:
            AgentError: it cannot be reached.
        """
        client = await self._open()
        offered: list[types.Tool] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            offered += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        wanted = self._config.tools
        return [McpTool(self, _spec(each)) for each in offered if wanted is None or each.name in wanted]

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """One call.

        Raises:
            ToolError: as `McpTool.run`.
        """
        try:
            client = await self._open()
            result = await client.call_tool(name, arguments)
        except AgentError as error:
            raise ToolError(error.message) from None
        except Exception as error:  # The boundary to the server: whatever comes is an answer to the model.
            await self.close()
            raise ToolError(f"{name} failed: {type(error).__name__}: {one_line(error)}") from error
        text = _text(result)
        if result.is_error:
            raise ToolError(f"{name} failed: {one_line(text, 1000)}")
        return text

    async def close(self) -> None:
        """End the session and its program; the next need opens another."""
        self._over.set()
        task, self._task, self._client = self._task, None, None
        if task is not None:
            await asyncio.wait([task], timeout=10)
            task.cancel()

    async def _open(self) -> Client:
        async with self._lock:
            if self._client is not None and self._task is not None and not self._task.done():
                return self._client
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            self._over = asyncio.Event()
            self._task = asyncio.create_task(self._serve(ready, self._over))
            try:
                async with asyncio.timeout(CONNECT_S):
                    client = await asyncio.shield(ready)
            except Exception as error:  # The boundary to the server: it may refuse in many ways.
                self._task.cancel()
                why = one_line(_first(error)) or type(error).__name__
                raise AgentError(
                    f"The MCP server {self._config.name} cannot be reached: {why}", "Check agent.tool_servers."
                ) from error
            self._client = client
            return client

    async def _serve(self, ready: asyncio.Future[Client], over: asyncio.Event) -> None:
        """Hold the session open: its scopes must be left by the task that entered them."""
        from mcp import Client

        try:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(Client(await self._server(stack)))
                ready.set_result(client)
                await over.wait()
        except (
            Exception
        ) as error:  # The boundary to the server: told to whoever waits, or found closed at the next call.
            if not ready.done():
                ready.set_exception(error)

    async def _server(self, stack: AsyncExitStack) -> Any:
        from mcp import StdioServerParameters

        config = self._config
        if config.url is None:
            program, *arguments = config.command
            return StdioServerParameters(
                command=shutil.which(program) or program,
                args=arguments,
                env={**os.environ, **config.env},
                cwd=str(self._folder),
            )
        if not self._headers:
            return config.url
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        client = await stack.enter_async_context(httpx2.AsyncClient(headers=self._headers, timeout=CONNECT_S))
        return streamable_http_client(config.url, http_client=client)


class McpAgent:
    """A model with the tools of MCP servers; the servers are asked what they offer before its first turn."""

    def __init__(self, make: Callable[[Sequence[AnyTool]], Agent], sessions: Sequence[McpSession]) -> None:
        """`make` gives the agent with these tools beside its own.

        Raises:
            ConfigError: the package `mcp` is not installed.
        """
        try:
            import mcp  # noqa: F401  # pyright: ignore[reportUnusedImport] - told now, not in the middle of a session
        except ImportError:
            raise ConfigError("agent.tool_servers needs the package mcp.", "Install atlas-loop[mcp].") from None
        self._make = make
        self._sessions = sessions
        self._bare = make(())
        self._agent: Agent | None = None
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """As the model's."""
        return self._bare.name

    @property
    def plans(self) -> bool:
        """As the model's."""
        return self._bare.plans

    @property
    def abilities(self) -> Abilities:
        """As the model's."""
        return self._bare.abilities

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """As the model's, with the servers' tools.

        Raises:
            AgentError: a server cannot be reached; else as `ModelAgent.act`.
        """
        return await (await self._ready()).act(turn, caller, on_text=on_text)

    async def close(self) -> None:
        """Close the sessions, then the agent."""
        for session in self._sessions:
            await session.close()
        await self._bare.close()

    async def _ready(self) -> Agent:
        async with self._lock:
            if self._agent is None:
                found = [tool for session in self._sessions for tool in await session.tools()]
                self._agent = self._make(found)
            return self._agent


def _spec(tool: types.Tool) -> ToolSpec:
    """As the server describes it. A hint of its own says what calling it twice would do; without one, the worst."""
    hints = tool.annotations
    effect: Effect = "external"
    if hints is not None and hints.read_only_hint:
        effect = "none"
    elif hints is not None and hints.idempotent_hint:
        effect = "idempotent"
    return ToolSpec(name=tool.name, description=tool.description or "", parameters=tool.input_schema, effect=effect)


def _text(result: types.CallToolResult) -> str:
    if result.structured_content is not None and not result.is_error:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(getattr(each, "text", f"[{each.type}]") for each in result.content)


def _first(error: BaseException) -> BaseException:
    """The cause inside the groups that structured concurrency wraps around it."""
    inner: Sequence[BaseException] = getattr(error, "exceptions", ())
    return _first(inner[0]) if inner else error
