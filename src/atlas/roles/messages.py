"""Every prompt of student and teacher, as pure functions from nouns to messages.

Bytes in front never change: the static role comes first, then the playbook (frozen per version), then the task, then
what the session adds. Text that a user, a tool or a model wrote goes into user messages only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from atlas.agents.prompting import PLAYBOOK_HEAD
from atlas.models.fence import Fence, tool_line
from atlas.schema import Attempt, Message, Plan, Recalled, Step, Task


@cache
def role_prompt(name: str) -> str:
    """A static role text, from the file beside this module."""
    return files("atlas.roles").joinpath("prompts", f"{name}.md").read_text("utf-8").strip()


def system(static: str, recalled: Recalled | None = None) -> tuple[Message, ...]:
    """The static role text, then the playbook entries this session sees in the order of their ids; nothing if empty."""
    shown = sorted(recalled.shown, key=lambda entry: entry.id) if recalled else []
    lines = [f"- {entry.cue.text}: {entry.action}" if entry.cue.text else f"- {entry.action}" for entry in shown]
    text = (static + PLAYBOOK_HEAD + "\n".join(lines)).lstrip() if lines else static
    return (Message(role="system", content=text),) if text else ()


def user(content: str) -> Message:
    """A user message."""
    return Message(role="user", content=content)


def student_answer(task: Task, recalled: Recalled, static: str) -> tuple[Message, ...]:
    """The whole task in one turn."""
    return (*system(static, recalled), user(task.prompt))


def student_plan(task: Task, recalled: Recalled, static: str) -> tuple[Message, ...]:
    """Ask for a plan."""
    return (*system(static, recalled), user(task.prompt))


def student_step(
    task: Task, step: Step, results: Sequence[tuple[Step, str]], recalled: Recalled, static: str
) -> tuple[Message, ...]:
    """One step, with the task around it and the results it depends on."""
    parts = [f"Task: {task.prompt}"]
    parts += [f"Result of step {done.id}: {output}" for done, output in results]
    parts.append(f"Now do step {step.id} only: {step.description}")
    return (*system(static, recalled), user("\n".join(parts)))


def student_retry(said: Sequence[Message], guidance: str) -> tuple[Message, ...]:
    """The conversation so far, then the teacher's guidance."""
    again = f"A reviewer found a problem: {guidance}\nDo it again, completely."
    return (*said, user(again))


def student_synthesis(task: Task, results: Sequence[tuple[Step, str]], static: str) -> tuple[Message, ...]:
    """The final answer from the steps' results."""
    parts = [f"Task: {task.prompt}"]
    parts += [f"Result of step {done.id} ({done.description}): {output}" for done, output in results]
    return (*system(static), user("\n".join(parts)))


def teacher_verify(
    session_id: str, task: Task, step: Step | None, attempt: Attempt, recalled: Recalled, static: str
) -> tuple[Message, ...]:
    """Task and work, once each, inside this session's fence."""
    fence = Fence(session_id, "verify")
    asked = task.prompt if step is None else f"{task.prompt}\nOnly this step: {step.description}"
    work = "\n".join([*map(tool_line, attempt.tools), attempt.output])
    return (*system(static, recalled), user(fence.wrap("task", asked) + "\n" + fence.wrap("work", work)))


def teacher_plan(session_id: str, task: Task, plan: Plan, recalled: Recalled, static: str) -> tuple[Message, ...]:
    """Task and plan inside this session's fence."""
    fence = Fence(session_id, "plan")
    lines = [f"{step.id}. {step.description} (after {list(step.depends_on)})" for step in plan.steps]
    return (
        *system(static, recalled),
        user(fence.wrap("task", task.prompt) + "\n" + fence.wrap("plan", "\n".join(lines))),
    )
