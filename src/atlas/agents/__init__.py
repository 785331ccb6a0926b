"""The student the user brings, behind one socket."""

from atlas.agents.base import Agent, Output, Turn

__all__ = ["Agent", "Output", "Turn"]
