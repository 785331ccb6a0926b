"""What the tests of agents share: a trace in memory, turns, and functions to be loaded by their import path."""

from __future__ import annotations

from typing import Any

from atlas.agents import Turn, tool
from atlas.models import Place
from atlas.schema import Event, Message, Task, now
from atlas.schema.events import Body


class MemoryTrace:
    """A trace that keeps everything and proves that it could be stored."""

    session_id = "0190-session"

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def record(self, body: Body) -> Event:
        event = Event(session_id=self.session_id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(Event.model_validate_json(event.model_dump_json()))
        return event

    @property
    def types(self) -> list[str]:
        return [event.body.type for event in self.events]


def turn(*messages: Message, prompt: str = "What is 6 x 7?", attempt: int = 1, **fields: Any) -> Turn:
    """A turn of the student: the prompt alone, or a whole conversation."""
    place = Place(actor="student", purpose="answer", attempt=attempt)
    said = messages or (Message(role="user", content=prompt),)
    return Turn(task=Task(prompt=prompt, payload={"id": 7}), messages=said, place=place, **fields)


def retried(playbook: str = "") -> Turn:
    """A second try, after guidance."""
    system = "You solve the task." + (f"\nPlaybook:\n{playbook}" if playbook else "")
    return turn(
        Message(role="system", content=system),
        Message(role="user", content="What is 6 x 7?"),
        Message(role="assistant", content="41"),
        Message(role="user", content="A reviewer found a problem: it is even."),
        attempt=2,
    )


@tool(effect="none", description="Multiply.")
def multiply(a: int, b: int = 2) -> int:
    """Multiplies."""
    return a * b


def undescribed(a: int) -> int:
    """Add one.

    Args:
        a: A number.
    """
    return a + 1


class Answerer:
    """A class whose instances answer."""

    def act(self, prompt: str) -> str:
        return f"{prompt}!"


not_callable = 3
