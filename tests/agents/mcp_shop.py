"""A real MCP server over stdin and stdout, started by the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("shop")
with Path(os.environ["STARTED"]).open("a") as file:
    file.write(f"{os.getpid()}\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look_up(number: int) -> str:
    """Look an order up."""
    return f"order {number} is on its way"


@server.tool()
def cancel(number: int) -> str:
    """Cancel an order."""
    raise ValueError(f"order {number} cannot be cancelled")


@server.tool()
def crash() -> str:
    """End the server."""
    os._exit(3)


if __name__ == "__main__":
    sys.exit(server.run("stdio"))
