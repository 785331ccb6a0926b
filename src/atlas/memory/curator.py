"""The curator: writes itemised lessons from one finished session."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import field_validator

from atlas.memory.text import MAX_ACTION, MAX_CUE, plain_line
from atlas.models import Caller, Fence, Model, Place, ask_json
from atlas.models.fence import clip, tool_line
from atlas.schema import Audience, Message, Noun, Request, Session

LESSONS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "entries": {
            "type": "array",
            "maxItems": 2,
            "items": {
                "type": "object",
                "properties": {
                    "audience": {"type": "string", "enum": ["student", "teacher"]},
                    "cue": {"type": "string", "minLength": 1},
                    "action": {"type": "string", "minLength": 1},
                    "expected_effect": {"type": "string"},
                },
                "required": ["audience", "cue", "action", "expected_effect"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["entries"],
    "additionalProperties": False,
}
"""The curator's reply on the wire."""

_MAX_PART = 24_000
"""Characters of a task or attempt that the curator is shown; the middle of a longer one is left out."""


class Lesson(Noun):
    """One lesson as the curator wrote it, cleaned at the door."""

    audience: Audience
    """Who is to read it."""
    cue: str
    """A word or phrase of the tasks it is for."""
    action: str
    """What to do then."""
    expected_effect: str = ""
    """What should become better."""

    @field_validator("cue")
    @classmethod
    def _clean_cue(cls, text: str) -> str:
        return _needed(plain_line(text, MAX_CUE))

    @field_validator("action")
    @classmethod
    def _clean_action(cls, text: str) -> str:
        return _needed(plain_line(text, MAX_ACTION))

    @field_validator("expected_effect")
    @classmethod
    def _clean_effect(cls, text: str) -> str:
        return plain_line(text, MAX_ACTION)


def _needed(line: str) -> str:
    if not any(letter.isalnum() for letter in line):
        raise ValueError("it is empty")
    return line


class Curator:
    """Asks a model what a session teaches."""

    def __init__(
        self,
        model: Model,
        *,
        prompt: str | None = None,
        temperature: float | None = None,
        max_output_tokens: int = 512,
    ) -> None:
        """`prompt` stands in the place of the static text that ships with Atlas."""
        self.name = model.name
        self._model = model
        self._static = prompt or curator_prompt()
        self._temperature = temperature
        self._max_output_tokens = max_output_tokens

    async def lessons(self, session: Session, caller: Caller) -> tuple[Lesson, ...]:
        """At most two lessons; none where nothing general was learnt.

        Raises:
            ModelError: the model failed, or its reply kept no schema even after a repair.
            BudgetError: the session's token budget is spent.
        """
        request = Request(
            messages=curator_messages(session, self._static),
            json_schema=LESSONS,
            temperature=self._temperature,
            max_output_tokens=self._max_output_tokens,
        )
        return await ask_json(caller, self._model, request, Place(actor="curator", purpose="learn"), parse=_parse)


@cache
def curator_prompt() -> str:
    """The static text, from the file beside this module."""
    return files("atlas.memory").joinpath("prompts", "curator.md").read_text("utf-8").strip()


def curator_messages(session: Session, static: str) -> tuple[Message, ...]:
    """The task, every attempt after its guidance, and the reward. The pocket curator learnt these very bytes."""
    fence = Fence(session.id, "learn")
    parts = [fence.wrap("task", clip(session.task.prompt, _MAX_PART))]
    for number, attempt in enumerate(session.attempts, start=1):
        if attempt.guidance:
            parts.append(f"Guidance: {' '.join(attempt.guidance.split())}")
        work = "\n".join([*map(tool_line, attempt.tools), attempt.output])
        parts.append(fence.wrap(f"attempt {number}", clip(work, _MAX_PART)))
    value = session.reward.value if session.reward else None
    parts.append(f"Reward: {'unknown' if value is None else f'{value:.2f}'}")
    return (Message(role="system", content=static), Message(role="user", content="\n".join(parts)))


def _parse(found: Mapping[str, Any]) -> tuple[Lesson, ...]:
    return tuple(Lesson.model_validate(entry) for entry in found["entries"])
