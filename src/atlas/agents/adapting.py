"""From any Python object to an agent: a function as it is, an agent of a framework by its adapter."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from atlas.agents.base import Agent
from atlas.agents.gate import Gate
from atlas.agents.python import PythonAgent
from atlas.models.text import one_line
from atlas.schema.errors import ConfigError

FRAMEWORKS: dict[tuple[str, str], str] = {
    ("langchain_core.runnables.base", "Runnable"): "langchain",
    ("agents.agent", "Agent"): "openai_agents",
    ("pydantic_ai.agent", "AbstractAgent"): "pydantic_ai",
    ("pydantic_ai.agent.abstract", "AbstractAgent"): "pydantic_ai",
    ("crewai.crew", "Crew"): "crewai",
    ("smolagents.agents", "MultiStepAgent"): "smolagents",
    ("claude_agent_sdk.types", "ClaudeAgentOptions"): "claude",
}
"""Module and name of a framework's class, and the adapter's module in `agents.frameworks`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an agent in Python is put among."""

    gate: Gate = field(default_factory=Gate)
    """Asked before each step."""
    loop: asyncio.AbstractEventLoop | None = None
    """The event loop of whoever made it; None is the running one."""


def agent_of(found: object, around: Surroundings, *, where: str) -> Agent:
    """The agent that an object is, by our own socket or a framework's, or that a factory without arguments makes.

    Raises:
        ConfigError: it is neither callable nor an agent of a framework that Atlas knows; `where` names it.
    """
    if isinstance(found, Agent) and not inspect.isclass(found):
        return found
    adapter = framework_of(found)
    if adapter is not None:
        module = importlib.import_module(f"atlas.agents.frameworks.{adapter}")
        made: Agent = module.adapt(found, around)
        return made
    if _makes_one(found):
        return agent_of(_made(found, where), around, where=where)
    entry = found if callable(found) else getattr(found, "act", None)
    if not callable(entry):
        raise ConfigError(f"{where} is not callable.", "Name a function, or an agent of a framework that Atlas knows.")
    return PythonAgent(entry, loop=around.loop, gate=around.gate)


def framework_of(found: object) -> str | None:
    """The adapter of an object, told by the names of its classes, so that nothing is imported to know."""
    return next((FRAMEWORKS[name] for name in _classes(found) if name in FRAMEWORKS), None)


def _makes_one(found: object) -> bool:
    """Whether it is a factory: a plain function that takes nothing, so that no prompt could be given to it."""
    return inspect.isfunction(found) and not inspect.signature(found).parameters


def _made(factory: Any, where: str) -> object:
    try:
        made: object = factory()
    except Exception as error:  # The boundary to the user's factory.
        raise ConfigError(
            f"{where} cannot be made: {type(error).__name__}: {one_line(error)}", "Correct the factory."
        ) from error
    if made is None or isinstance(made, str) or inspect.isawaitable(made):
        raise ConfigError(
            f"{where} takes nothing and gives a {type(made).__name__}: neither an agent nor a factory of one.",
            "Write it as def agent(prompt), or let it return an agent.",
        )
    return made


def _classes(found: Any) -> Iterator[tuple[str, str]]:
    return ((kind.__module__, kind.__qualname__) for kind in type(found).__mro__)
