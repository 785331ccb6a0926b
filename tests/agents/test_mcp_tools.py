"""Tools of a real MCP server, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents_kit import MemoryTrace, turn

from atlas.agents import McpAgent, McpSession, ModelAgent
from atlas.config import McpServerConfig
from atlas.models import Caller, ScriptedModel
from atlas.schema import Message, ToolCall
from atlas.schema.errors import AgentError, ToolError

pytest.importorskip("mcp", reason="mcp is not installed")

from mcp.server.mcpserver import Context, MCPServer

HERE = Path(__file__).parent


def config(folder: Path, **fields: Any) -> McpServerConfig:
    command = (sys.executable, "-W", "ignore", str(HERE / "mcp_shop.py"))
    return McpServerConfig(name="shop", command=command, env={"STARTED": str(folder / "started")}, **fields)


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[McpSession]:
    opened = McpSession(config(tmp_path), folder=tmp_path)
    yield opened
    await opened.close()


def started(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "started").read_text().split()]


def call(name: str, arguments: str = "{}") -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="c1", name=name, arguments=arguments),))


async def test_one_session_for_all_turns_and_every_call_on_record(
    session: McpSession, tmp_path: Path, trace: MemoryTrace
) -> None:
    model = ScriptedModel([call("look_up", '{"number": 7}'), "on its way", call("cancel", '{"number": 7}'), "sorry"])
    agent = McpAgent(lambda tools: ModelAgent(model, tools=tools), [session])
    first = await agent.act(turn(), Caller(trace))
    second = await agent.act(turn(), Caller(trace))
    assert "order 7 is on its way" in first.tools[0].output
    assert (second.tools[0].error or "").startswith("cancel failed: ")
    assert [(spec.name, spec.effect) for spec in model.requests[0].tools] == [
        ("look_up", "none"),
        ("cancel", "external"),
        ("crash", "external"),
    ]
    assert model.requests[0].tools[0].parameters["properties"]["number"]["type"] == "integer"
    assert trace.types == ["model_called", "tool_called", "model_called", "model_called", "tool_started", "tool_called", "model_called"]  # fmt: skip  # noqa: E501
    (pid,) = started(tmp_path)
    await agent.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_server_that_died_is_started_again(session: McpSession, tmp_path: Path) -> None:
    tools = {tool.spec.name: tool for tool in await session.tools()}
    with pytest.raises(ToolError, match="crash failed"):
        await tools["crash"].run(ToolCall(id="1", name="crash", arguments="{}"))
    said = await tools["look_up"].run(ToolCall(id="2", name="look_up", arguments='{"number": 8}'))
    assert "order 8" in said
    assert len(started(tmp_path)) == 2


async def test_wrong_arguments_are_told(session: McpSession) -> None:
    tool = next(tool for tool in await session.tools() if tool.spec.name == "look_up")
    for arguments in ("[1]", "{", '{"number": "x"}'):
        with pytest.raises(ToolError):
            await tool.run(ToolCall(id="1", name="look_up", arguments=arguments))


async def test_only_the_named_tools(tmp_path: Path) -> None:
    session = McpSession(config(tmp_path, tools=("cancel",)), folder=tmp_path)
    assert [tool.spec.name for tool in await session.tools()] == ["cancel"]
    await session.close()
    await session.close()


@pytest.mark.parametrize(
    "fields", [{"command": ("no-such-program",)}, {"command": (sys.executable, "-c", "")}, {"url": "http://127.0.0.1:9/mcp"}]
)  # fmt: skip
async def test_a_server_that_is_not_there_is_named(tmp_path: Path, fields: dict[str, Any]) -> None:
    session = McpSession(McpServerConfig(name="gone", **fields), folder=tmp_path)
    with pytest.raises(AgentError, match="The MCP server gone cannot be reached"):
        await session.tools()
    await session.close()


def test_one_way_to_reach_it() -> None:
    for fields in ({}, {"command": ("x",), "url": "http://x"}):
        with pytest.raises(ValueError, match="either command or url"):
            McpServerConfig.model_validate({"name": "x"} | fields)


async def test_a_server_over_http_with_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    seen: list[str | None] = []
    server = MCPServer("http-shop")

    @server.tool()
    async def whoami(ctx: Context) -> str:  # pyright: ignore
        seen.append(ctx.headers.get("authorization") if ctx.headers else None)
        return "you"

    app = server.streamable_http_app()
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(running.serve())
    while not running.started:  # noqa: ASYNC110 - uvicorn tells by a flag
        await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("SHOP_TOKEN", "t0ken")
    url = f"http://127.0.0.1:{port}/mcp"
    for headers in ({"Authorization": "Bearer ${SHOP_TOKEN}"}, {}):
        session = McpSession(McpServerConfig(name="shop", url=url, headers=headers), folder=tmp_path)
        (tool,) = await session.tools()
        assert "you" in await tool.run(ToolCall(id="1", name="whoami", arguments="{}"))
        await session.close()
    running.should_exit = True
    await serving
    assert seen == ["Bearer t0ken", None]
