"""The student the user brings, behind one socket."""

from atlas.agents.adapting import Surroundings, agent_of
from atlas.agents.base import Abilities, Agent, Output, Turn
from atlas.agents.context import AgentContext, Budget
from atlas.agents.gate import Gate, StepRequest
from atlas.agents.http import HttpAgent
from atlas.agents.loading import load_object
from atlas.agents.mcp import McpAgent, McpSession
from atlas.agents.model import ModelAgent
from atlas.agents.process import ProcessAgent
from atlas.agents.python import PythonAgent
from atlas.agents.tools import AnyTool, Tool, tool
from atlas.agents.world import World, WorldAgent, episode_reward

__all__ = [
    "Abilities",
    "Agent",
    "AgentContext",
    "AnyTool",
    "Budget",
    "Gate",
    "HttpAgent",
    "McpAgent",
    "McpSession",
    "ModelAgent",
    "Output",
    "ProcessAgent",
    "PythonAgent",
    "StepRequest",
    "Surroundings",
    "Tool",
    "Turn",
    "World",
    "WorldAgent",
    "agent_of",
    "episode_reward",
    "load_object",
    "tool",
]
