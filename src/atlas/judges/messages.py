"""What a judge reads of a session, as pure functions from nouns to messages.

Static text comes first. Everything that a user, a tool or a model wrote stands once, inside the session's fence, in one
user message; the same session gives the same bytes to every sample, so that prefix caches hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from atlas.models.fence import Fence, clip, tool_line
from atlas.schema import ANSWER_STEP, Attempt, Message, Plan, Session, Verdict

MAX_PART = 24_000
"""Characters of one attempt, answer or other part that a judge is shown; the middle of a longer one is left out."""


@cache
def judge_prompt(name: str) -> str:
    """A static text, from the file beside this module."""
    return files("atlas.judges").joinpath("prompts", f"{name}.md").read_text("utf-8").strip()


def for_judge(session: Session, static: str) -> tuple[Message, ...]:
    """The session, for a judge of its own mind."""
    fence = Fence(session.id, "judge")
    return _messages(static, _told(session, fence))


def for_arbiter(session: Session, verdicts: Sequence[Verdict], static: str) -> tuple[Message, ...]:
    """The session, then what the other judges said of it."""
    fence = Fence(session.id, "arbiter")
    readings = [
        _part(fence, f"judge {number}", f"score {one.score:.2f}, uncertainty {one.uncertainty:.2f}: {one.rationale}")
        for number, one in enumerate(verdicts, start=1)
    ]
    return _messages(static, [*_told(session, fence), *readings])


def _messages(static: str, parts: Sequence[str]) -> tuple[Message, ...]:
    return (Message(role="system", content=static), Message(role="user", content="\n".join(parts)))


def _told(session: Session, fence: Fence) -> list[str]:
    """Task, plan, every attempt with its guidance and tool calls, and the final answer, once each."""
    parts = [_part(fence, "task", session.task.prompt)]
    if session.plan is not None:
        parts.append(_part(fence, "plan", _plan_lines(session.plan)))
    for attempt in session.attempts:
        if attempt.guidance is not None:
            parts.append(_part(fence, f"guidance for {_label(attempt)}", attempt.guidance))
        work = "\n".join([*map(tool_line, attempt.tools), attempt.output])
        parts.append(_part(fence, _label(attempt), work))
    answer = session.answer or ""
    if session.attempts and answer == session.attempts[-1].output:
        parts.append(f"The final answer is the output of {_label(session.attempts[-1])}.")
    else:
        parts.append(_part(fence, "final answer", answer))
    return parts


def _part(fence: Fence, label: str, text: str) -> str:
    return fence.wrap(label, clip(text, MAX_PART))


def _label(attempt: Attempt) -> str:
    tried = f"attempt {attempt.number}"
    return tried if attempt.step == ANSWER_STEP else f"step {attempt.step} {tried}"


def _plan_lines(plan: Plan) -> str:
    return "\n".join(f"{step.id}. {step.description} (after {list(step.depends_on)})" for step in plan.steps)
