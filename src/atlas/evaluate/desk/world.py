"""The desk's books: tools really change them, and a task is done when they look as they should.

Tools are pure functions that return a receipt. A wrong tool or a swapped argument gives a receipt as good as any other;
only the books tell. The check runs a session's recorded calls on fresh books.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from pydantic import TypeAdapter, ValidationError

from atlas.evaluate.desk.rules import BY_NAME, DeskName, nouns, today
from atlas.schema import ANSWER_STEP, Attempt, Noun, Session, Task, ToolUse
from atlas.schema.errors import JudgeError

Books = dict[tuple[str, str], tuple[str, ...]]
"""(object, field) -> what is written there."""

_ARGUMENTS = TypeAdapter(dict[str, str])


class Job(Noun):
    """One operation of a task."""

    operation: str
    """What is to be done."""
    objects: tuple[str, str]
    """Ids of its two operands, in the order of the operation's nouns; `#1` is the id that job 1's tool returns."""


class Ticket(Noun):
    """What the check must know of a task; it travels in the task's payload and never reaches a model."""

    desk: DeskName
    """Which desk."""
    client: str
    """Whose rules hold."""
    jobs: tuple[Job, ...]
    """One or two operations."""


def receipt(tool: str, first: str, second: str) -> str:
    """The id that a call returns: four digits that follow from the call alone."""
    return str(1000 + zlib.crc32(f"{tool}/{first}/{second}".encode()) % 9000)


def call_tool(tool: str, first: str, second: str) -> str:
    """What the model reads after a call."""
    return f"ok, id {receipt(tool, first, second)}"


def write(books: Books, tool: str, first: str, second: str) -> None:
    """Let one call change the books."""
    effect = BY_NAME[tool]
    place = (first, effect.field)
    before = books.get(place, ())
    match effect.effect:
        case "set":
            books[place] = ("=" + second,)
        case "add":
            books[place] = tuple(sorted({*before, "+" + second}))
        case "count":
            books[place] = tuple(sorted((*before, "n" + second)))


def goal_calls(ticket: Ticket) -> list[tuple[str, str, str]]:
    """The calls that today's rules ask for, as (tool, first, second)."""
    calls: list[tuple[str, str, str]] = []
    for job in ticket.jobs:
        rule = today(ticket.desk, ticket.client, job.operation)
        objects = operands(ticket.desk, job, [receipt(*call) for call in calls])
        calls.append((rule.tool, objects[rule.first], objects[1 - rule.first]))
    return calls


def operands(desk: DeskName, job: Job, results: Sequence[str]) -> tuple[str, str]:
    """The job's two objects as a call names them, as in `order 417`; ids of earlier jobs' results are filled in."""
    ids = (results[int(name[1:]) - 1] if name.startswith("#") else name for name in job.objects)
    first, second = (f"{kind} {name}" for kind, name in zip(nouns(desk, job.operation), ids, strict=True))
    return first, second


def opening_books(ticket: Ticket) -> Books:
    """The books before any call: every object already belongs somewhere."""
    books: Books = {}
    for job in ticket.jobs:
        for kind, name in zip(nouns(ticket.desk, job.operation), job.objects, strict=True):
            books[(f"{kind} {name}", "owner")] = ("=" + ticket.client,)
    return books


def replay(ticket: Ticket, uses: Iterable[ToolUse]) -> Books:
    """The books after the recorded calls; a call that names no tool or lacks an argument changes nothing."""
    books = opening_books(ticket)
    for use in uses:
        arguments = read_arguments(use.call.name, use.call.arguments)
        if use.error is None and arguments is not None:
            write(books, use.call.name, *arguments)
    return books


def read_arguments(tool: str, text: str) -> tuple[str, str] | None:
    """The two arguments of a call, or None when it is not a call the desk understands."""
    known = BY_NAME.get(tool)
    try:
        given = _ARGUMENTS.validate_json(text)
    except ValidationError:
        return None
    if known is None or set(given) != set(known.arguments):
        return None
    return given[known.arguments[0]], given[known.arguments[1]]


def goal_books(ticket: Ticket) -> Books:
    """The books as they should look at the end."""
    books = opening_books(ticket)
    for call in goal_calls(ticket):
        write(books, *call)
    return books


def last_attempts(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The last try of each step, in the order of the steps; a try that was done again leaves nothing behind."""
    last: dict[int, Attempt] = {}
    for attempt in attempts:
        if attempt.step not in last or attempt.number >= last[attempt.step].number:
            last[attempt.step] = attempt
    whole = last.get(ANSWER_STEP)
    return [whole] if whole else [last[step] for step in sorted(last)]


def ticket_of(task: Task) -> Ticket:
    """The ticket in a task's payload.

    Raises:
        JudgeError: the task is not one of the desk's.
    """
    try:
        return Ticket.model_validate(task.payload.get("ticket"))
    except ValidationError as error:
        raise JudgeError("This task carries no desk ticket.", "Use tasks from atlas.evaluate.desk.") from error


def check(session: Session) -> float:
    """1.0 when the last attempts' calls bring the books to where today's rules want them, else 0.0.

    Raises:
        JudgeError: the session's task is not one of the desk's.
    """
    ticket = ticket_of(session.task)
    uses = [use for attempt in last_attempts(session.attempts) for use in attempt.tools]
    return float(replay(ticket, uses) == goal_books(ticket))
