"""The student the user brings, behind one socket."""

from atlas.agents.base import Agent, Output, Turn
from atlas.agents.http import HttpAgent
from atlas.agents.loading import load_object
from atlas.agents.model import ModelAgent
from atlas.agents.prompting import AgentContext
from atlas.agents.python import PythonAgent
from atlas.agents.tools import Tool, tool

__all__ = [
    "Agent",
    "AgentContext",
    "HttpAgent",
    "ModelAgent",
    "Output",
    "PythonAgent",
    "Tool",
    "Turn",
    "load_object",
    "tool",
]
