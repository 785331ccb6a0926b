"""A turn as plain text, for agents that take a prompt and not a conversation."""

from __future__ import annotations

from atlas.agents.base import Turn

PLAYBOOK_HEAD = "\nPlaybook:\n"
"""Stands in a system message before the playbook entries."""


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


def guidance_of(turn: Turn) -> str | None:
    """The reviewer's words on the last try; None at the first."""
    said = [message.content for message in turn.messages if message.role == "user"]
    return said[-1] if len(said) > 1 else None


def injected(turn: Turn) -> str:
    """What Atlas adds to the bare request: guidance, then the playbook; empty at a first try without one."""
    playbook = playbook_of(turn)
    book = PLAYBOOK_HEAD.lstrip() + playbook if playbook else None
    return "\n\n".join(filter(None, (guidance_of(turn), book)))
