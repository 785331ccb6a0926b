"""Atlas: a continual-learning framework for LLM agents in production."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["agent", "environment"]

MARK = "__atlas_role__"
"""The attribute that a mark sets."""

Marked = TypeVar("Marked", bound=Callable[..., Any])


def agent(given: Marked) -> Marked:
    """Mark a function, a class, or a factory without arguments as this project's agent; it stays what it is.

    `atlas env init` finds it by the mark: `@atlas.agent`.
    """
    setattr(given, MARK, "agent")
    return given


def environment(given: Marked) -> Marked:
    """Mark a class with `reset` and `step`, or a factory of one, as the world that the agent acts in.

    `atlas env init` finds it by the mark: `@atlas.environment`.
    """
    setattr(given, MARK, "environment")
    return given
