"""The desk's tools as an agent registers them: one pure function each, with a receipt as result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from atlas.agents import tool
from atlas.evaluate.desk.world import call_tool


@tool(effect="idempotent")
async def post(source: str, target: str) -> str:
    """Post one object to another."""
    return call_tool("post", source, target)


@tool(effect="idempotent")
async def link(parent: str, child: str) -> str:
    """Link a child to its parent."""
    return call_tool("link", parent, child)


@tool(effect="idempotent")
async def move(origin: str, goal: str) -> str:
    """Move an object to its goal."""
    return call_tool("move", origin, goal)


@tool(effect="idempotent")
async def credit(source: str, target: str) -> str:
    """Credit one object with another."""
    return call_tool("credit", source, target)


@tool(effect="idempotent")
async def debit(source: str, target: str) -> str:
    """Debit one object for another."""
    return call_tool("debit", source, target)


@tool(effect="idempotent")
async def adjust(parent: str, child: str) -> str:
    """Adjust a child under its parent."""
    return call_tool("adjust", parent, child)


@tool(effect="idempotent")
async def route(origin: str, goal: str) -> str:
    """Route an object to its goal."""
    return call_tool("route", origin, goal)


@tool(effect="idempotent")
async def load(parent: str, child: str) -> str:
    """Load a child onto its parent."""
    return call_tool("load", parent, child)


@tool(effect="idempotent")
async def scan(origin: str, goal: str) -> str:
    """Scan an object at its goal."""
    return call_tool("scan", origin, goal)


@tool(effect="idempotent")
async def grant(source: str, target: str) -> str:
    """Grant one object to another."""
    return call_tool("grant", source, target)


@tool(effect="idempotent")
async def assign(parent: str, child: str) -> str:
    """Assign a child to its parent."""
    return call_tool("assign", parent, child)


@tool(effect="idempotent")
async def bind(source: str, target: str) -> str:
    """Bind one object to another."""
    return call_tool("bind", source, target)


TOOLS: tuple[Callable[[str, str], Awaitable[str]], ...] = (
    post, link, move, credit, debit, adjust, route, load, scan, grant, assign, bind,
)  # fmt: skip
"""All twelve, in the order in which the pocket student was trained to read them."""
