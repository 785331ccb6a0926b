"""The student's work and the teacher's word on it."""

from __future__ import annotations

from typing import Literal

from atlas.schema.base import Noun
from atlas.schema.chat import ToolCall

ANSWER_STEP = 0
"""Step number of a session that is not split into steps."""


class Step(Noun):
    """One step of a plan."""

    id: int
    """Positive, unique within the plan."""
    description: str
    """What to do, in one sentence."""
    depends_on: tuple[int, ...] = ()
    """Steps whose results this one needs."""


class Plan(Noun):
    """How the student means to solve the task."""

    steps: tuple[Step, ...]
    """At least one; acyclic; every dependency names a step of this plan."""


class ToolUse(Noun):
    """One executed tool call and what it returned."""

    call: ToolCall
    """The call as the model wrote it."""
    output: str = ""
    """What the tool returned, as text."""
    error: str | None = None
    """One line when the tool failed; the model saw this text instead of an output."""


class Attempt(Noun):
    """One try of the student."""

    step: int = ANSWER_STEP
    """Which step it works on; 0 for the whole task."""
    number: int = 1
    """1 for the first try, 2 for the first retry, ..."""
    output: str = ""
    """The student's words."""
    tools: tuple[ToolUse, ...] = ()
    """Tool calls of this try, in order."""
    guidance: str | None = None
    """The guidance it was given; None for an unguided try."""


ReviewTarget = Literal["plan", "step", "answer"]


class Review(Noun):
    """The teacher's word on a plan, a step or an answer. A teacher that failed gives no review."""

    target: ReviewTarget
    """What was reviewed."""
    step: int = ANSWER_STEP
    """Which step; 0 for the plan and the whole answer."""
    attempt: int = 1
    """Which attempt."""
    accepted: bool
    """True when no fault was found."""
    guidance: str | None = None
    """What to change; always present when not accepted."""
