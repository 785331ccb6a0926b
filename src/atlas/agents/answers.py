"""What the user's code returned, as the text of an answer, and as what the student did in a turn."""

from __future__ import annotations

import json

from atlas.agents.base import Output, Turn
from atlas.models import Caller, OnText
from atlas.models.text import one_line, scrub
from atlas.schema import Message, ToolUse


class Unusable(Exception):
    """The user's code returned what is no answer; the message continues its name."""


def as_text(result: object) -> str:
    """A text as it is; a mapping, a list or a number as JSON.

    Raises:
        Unusable: it is empty, nothing, or no such thing.
    """
    if isinstance(result, str):
        text = scrub(result)
    elif isinstance(result, dict | list | tuple | int | float):
        try:
            text = scrub(json.dumps(result, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise Unusable(f"returned what JSON cannot carry ({one_line(error)})") from None
    else:
        raise Unusable(f"returned {'nothing' if result is None else 'a ' + type(result).__name__}")
    if not text.strip():
        raise Unusable("returned an empty answer")
    return text


def output_of(turn: Turn, text: str, tools: tuple[ToolUse, ...] = ()) -> Output:
    """The turn with these final words."""
    return Output(text=text, tools=tools, messages=(*turn.messages, Message(role="assistant", content=text)))


async def recorded(turn: Turn, caller: Caller, on_text: OnText | None) -> Output | None:
    """What the agent did in this turn before the session was interrupted: its work is not done, and paid, twice."""
    attempt = caller.recorded_attempt(turn.place)
    if attempt is None:
        return None
    if on_text:
        await on_text(attempt.output)
    return output_of(turn, attempt.output, attempt.tools)
