"""A turn as plain text, for agents that take a prompt and not a conversation."""

from __future__ import annotations

from atlas.agents.base import Turn
from atlas.schema import Message, Noun, Task

PLAYBOOK_HEAD = "\nPlaybook:\n"
"""Stands in a system message before the playbook entries."""


class AgentContext(Noun):
    """What an agent may know beside its prompt."""

    task: Task
    """The session's task, payload included."""
    messages: tuple[Message, ...]
    """The whole conversation, earlier tries and guidance included."""
    playbook: str = ""
    """The playbook entries of this session, one a line; empty when there are none."""
    guidance: str | None = None
    """The reviewer's words on the last try; None at the first."""
    attempt: int = 1
    """1 for the first try, 2 for the first retry, ..."""


def playbook_of(turn: Turn) -> str:
    """The playbook entries in the system message, one a line."""
    system = "".join(message.content for message in turn.messages if message.role == "system")
    return system.rpartition(PLAYBOOK_HEAD)[2].strip() if PLAYBOOK_HEAD in system else ""


def prompt_of(turn: Turn) -> str:
    """Everything the user's side said in this turn, guidance included, then the playbook.

    A first try without a playbook is the bare request.
    """
    parts = [message.content for message in turn.messages if message.role == "user"]
    playbook = playbook_of(turn)
    if playbook:
        parts.append(PLAYBOOK_HEAD.lstrip() + playbook)
    return "\n\n".join(parts)


def context_of(turn: Turn) -> AgentContext:
    """The turn's context."""
    said = [message.content for message in turn.messages if message.role == "user"]
    return AgentContext(
        task=turn.task,
        messages=turn.messages,
        playbook=playbook_of(turn),
        guidance=said[-1] if len(said) > 1 else None,
        attempt=turn.place.attempt,
    )
