"""The socket of an agent: the student that the user brings."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from pydantic import Field

from atlas.models import Caller, OnText, Place
from atlas.schema import Message, Noun, Task, ToolUse


class Turn(Noun):
    """One thing the student is asked to do."""

    task: Task
    """The session's task, for agents that want its payload."""
    messages: tuple[Message, ...]
    """The conversation so far; the last message is the user's. A system message, if any, is first."""
    place: Place
    """Where in the session this turn belongs."""
    json_schema: dict[str, Any] | None = None
    """When given, the output must be one JSON object that satisfies it (a payload)."""
    tools_allowed: bool = True
    """Whether the agent may use its tools: it may while it works, not while it plans or sums up."""
    max_output_tokens: int | None = None
    """Upper bound of the reply's length in tokens."""
    timeout_s: float = Field(default=900.0, gt=0)
    """Seconds for the whole turn, tool calls included."""


class Output(Noun):
    """What the student did in a turn."""

    text: str
    """Its words."""
    tools: tuple[ToolUse, ...] = ()
    """Tool calls it made, in order."""
    messages: tuple[Message, ...] = ()
    """The conversation from the first message to the final words, to be continued in a retry."""


class Abilities(Noun):
    """What an agent lets Atlas see and do. Every agent gives a result; a lane goes on with less, and says so."""

    traces: bool = False
    """Whether the model and tool calls inside it are recorded."""
    injects: bool = True
    """Whether playbook and guidance reach it; without that a retry would only be another throw of the dice."""
    steps: bool = False
    """Whether what it does in the world can be held at a gate, and is not done twice by a resumed session."""

    @property
    def level(self) -> str:
        """In words: `result + traces + injection + steps`, without what is missing."""
        parts = (("traces", self.traces), ("injection", self.injects), ("steps", self.steps))
        return " + ".join(("result", *(name for name, able in parts if able)))


@runtime_checkable
class Agent(Protocol):
    """Any student: a model with tools, a Python function, an HTTP service, a framework's agent."""

    @property
    def name(self) -> str:
        """How it is recorded."""
        ...

    @property
    def plans(self) -> bool:
        """Whether it can be asked for a plan as JSON; the coach lane degrades to paired where it cannot."""
        ...

    @property
    def abilities(self) -> Abilities:
        """What Atlas can see and do beside taking the result."""
        ...

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """Work on one turn. Model and tool calls go through `caller`, which records them.

        Raises:
            AgentError: it raised, hung, or returned nothing usable.
            ModelError: its model failed.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds; calling it twice is harmless."""
        ...
