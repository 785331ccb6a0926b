"""What a trainer can learn from: one conversation of one role, with where it is from and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from atlas.export import Played, Role, StoredSession, Turn, played
from atlas.schema import Message, Noun, Purpose, ToolSpec, content_hash

Take = Literal["imitate", "compare"]
"""`imitate`: what stood at last; `compare`: every try with a known value."""


class Example(Noun):
    """One thing a role was asked to do, and what it said."""

    session_id: str
    """The session it is from."""
    role: Role
    """Who speaks."""
    purpose: Purpose
    """What it was asked for."""
    step: int
    """Which step; 0 for the whole task."""
    attempt: int
    """Which attempt."""
    learning_key: str
    """Its group; the share of one group among all examples can be capped."""
    tenant: str
    """Its owner."""
    question: str
    """Content hash of task, key and owner: equal for sessions of the same question."""
    prompt: tuple[Message, ...]
    """What the role was told."""
    reply: tuple[Message, ...]
    """What it said; tool results between its messages are read, not learnt."""
    tools: tuple[ToolSpec, ...] = ()
    """What it could call."""
    guided: tuple[Message, ...] = ()
    """The prompt under the teacher's guidance that led to this reply; empty where it needed none."""
    value: float | None = None
    """How it ended, in [0, 1]; None where nobody could tell."""
    model: str = ""
    """The model that spoke."""
    sampled: tuple[tuple[int, ...], ...] = ()
    """Token ids that were sampled for each assistant message of the reply; empty where unknown."""

    @property
    def identity(self) -> str:
        """Content hash over what a trainer reads: two examples with the same one teach the same."""
        said = (message.model_dump_json() for message in (*self.prompt, *self.reply))
        tools = (tool.model_dump_json() for tool in self.tools)
        return content_hash(self.role, self.purpose, *said, *tools)


def examples_of(stored: StoredSession, role: Role, *, take: Take) -> Iterator[Example]:
    """The examples of one role in a session, in order. A session without a reward has none.

    Raises:
        ValueError: its events do not tell a session.
    """
    told = played(stored, role)
    if told.record.reward is None:
        return
    first = {(turn.purpose, turn.step): turn for turn in reversed(told.turns)}
    for turn in told.turns:
        value = _value(told, turn, role)
        if take == "imitate" and not _stood(turn, role, value):
            continue
        if take == "compare" and value is None:
            continue
        prompt, guided = turn.prompt, ()
        if take == "imitate" and role == "student":
            prompt = first[turn.purpose, turn.step].prompt
            guided = turn.prompt if turn.prompt != prompt else ()
        yield _example(told, turn, role).model_copy(update={"prompt": prompt, "guided": guided, "value": value})


def _example(told: Played, turn: Turn, role: Role) -> Example:
    record = told.record
    return Example(
        session_id=record.session_id,
        role=role,
        purpose=turn.purpose,
        step=turn.step,
        attempt=turn.attempt,
        learning_key=record.learning_key,
        tenant=record.tenant,
        question=content_hash(record.task, record.learning_key, record.tenant),
        prompt=turn.prompt,
        reply=turn.reply,
        tools=turn.tools,
        model=turn.model,
        sampled=turn.sampled,
    )


def _stood(turn: Turn, role: Role, value: float | None) -> bool:
    """Whether it is to be imitated: a student's last try unless it was rejected, a teacher's word unless it misled."""
    if role == "student":
        return turn.last and turn.accepted is not False
    return value is None or value > 0


def _value(told: Played, turn: Turn, role: Role) -> float | None:
    """A try's own reward. Of a teacher's word: what the attempt it accepted, or the one it led to, was worth."""
    if role == "student":
        return turn.value if turn.value is not None else (told.record.reward if turn.last else None)
    if role == "judge" or turn.purpose == "plan_review":
        return told.record.reward
    number = turn.attempt if turn.accepted else turn.attempt + 1
    tries = {attempt.number: attempt.value for attempt in told.record.attempts if attempt.step == turn.step}
    if number not in tries:  # A last word of rejection led to nothing.
        return None
    return told.record.reward if tries[number] is None and number == max(tries) else tries[number]
