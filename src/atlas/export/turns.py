"""The conversations of a session, one for each thing a role was asked to do: what trainers learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from atlas.export.assemble import record_of
from atlas.export.bodies import SessionBodies
from atlas.export.record import SessionRecord
from atlas.export.source import StoredSession
from atlas.models import parse_object, violation
from atlas.schema import ANSWER_STEP, Attempt, Body, Message, Noun, Purpose, Review, ToolSpec
from atlas.schema.events import Attempted, ModelCalled, Planned, Reviewed

Role = Literal["student", "teacher", "judge"]
"""Whose conversations are wanted."""
_READ = ("model_called", "attempted", "planned", "reviewed")


class Turn(Noun):
    """One thing a role was asked to do, and what it said and did."""

    purpose: Purpose
    """What it was asked for."""
    step: int
    """Which step; 0 for the whole task."""
    attempt: int
    """Which attempt."""
    prompt: tuple[Message, ...]
    """What it was told."""
    reply: tuple[Message, ...]
    """What it said, with its tool calls and their results between."""
    tools: tuple[ToolSpec, ...] = ()
    """What it could call."""
    accepted: bool | None = None
    """The teacher's word on it; None when nobody reviewed it. For a teacher's turn: the word it gave."""
    last: bool = True
    """Whether no later attempt at the same thing followed."""
    value: float | None = None
    """Its reward in [0, 1], where one is known."""
    guidance: tuple[str, ...] = ()
    """What the teacher had asked for before."""
    model: str = ""
    """The model that spoke; empty where nobody saw its calls."""
    sampled: tuple[tuple[int, ...], ...] = ()
    """For each assistant message of the reply, the token ids that were sampled; empty where the endpoint gave none."""


class Played(Noun):
    """A session with the turns of one role."""

    record: SessionRecord
    """The session."""
    turns: tuple[Turn, ...]
    """In order."""


Key = tuple[Purpose, int, int]
"""Purpose, step and attempt: what the calls of one turn have in common."""


def played(stored: StoredSession, role: Role) -> Played:
    """A session with the turns of one role.

    Raises:
        ValueError: its events do not tell a session.
    """
    bodies = SessionBodies(stored.payloads)
    read = [bodies.body(event.seq) for event in stored.events if event.type in _READ]
    told = _Told(record_of(stored), read, role)
    kinds = {"student": told.student_turns, "teacher": told.teacher_turns, "judge": told.judge_turns}
    return Played(record=told.record, turns=tuple(kinds[role]()))


class _Told:
    """The calls of one role by turn, and the teacher's words by what they are about."""

    def __init__(self, record: SessionRecord, read: Sequence[Body], role: Role) -> None:
        self.record = record
        self._read = read
        self._calls: dict[Key, list[ModelCalled]] = defaultdict(list)
        self._words: dict[tuple[bool, int, int], Review] = {}
        self._last_plan = 0
        for body in read:
            match body:
                case ModelCalled(actor=actor) if actor == role:
                    self._calls[_key(body)].append(body)
                case Reviewed(review=word):
                    self._words[word.target == "plan", word.step, word.attempt] = word
                case Planned(attempt=attempt):
                    self._last_plan = attempt
                case _:
                    pass

    def teacher_turns(self) -> Iterator[Turn]:
        """Every review the teacher gave; a call whose reply was none is left out."""
        for (purpose, step, attempt), made in self._calls.items():
            word = self._words.get((purpose == "plan_review", step, attempt))
            if purpose in ("plan_review", "verify") and word is not None:
                yield _turn(made).model_copy(update={"accepted": word.accepted})

    def judge_turns(self) -> Iterator[Turn]:
        """Every verdict that a model judge gave; a reply that no parser took is left out, its repair stands for it."""
        for made in self._calls.values():
            prompts: list[tuple[Message, ...]] = []
            for call in made:
                said = call.request.messages
                asked = next((prompt for prompt in prompts if said[: len(prompt)] == prompt), said)
                prompts.append(asked)
                if _gave_a_verdict(call):
                    yield _turn((call,)).model_copy(update={"prompt": asked, "value": self.record.reward})

    def student_turns(self) -> Iterator[Turn]:
        """Every plan, step, answer and synthesis the student finished."""
        for body in self._read:
            match body:
                case ModelCalled(purpose="plan", attempt=attempt) if attempt <= self._last_plan and self._ends(body):
                    last = attempt == self._last_plan
                    yield self._reviewed(_turn(self._calls[_key(body)]), last=last, value=None)
                case ModelCalled(purpose="synthesis") if self._ends(body):
                    changes = {"accepted": self.record.accepted, "value": self.record.reward}
                    yield _turn(self._calls[_key(body)]).model_copy(update=changes)
                case Attempted(attempt=tried):
                    yield self._attempt(tried)
                case _:
                    pass

    def _ends(self, call: ModelCalled) -> bool:
        made = self._calls.get(_key(call))
        return made is not None and made[-1] is call

    def _attempt(self, tried: Attempt) -> Turn:
        stood = any((step.step_id, step.attempts) == (tried.step, tried.number) for step in self.record.steps)
        purpose: Purpose = "answer" if tried.step == ANSWER_STEP else "step"
        made = self._calls.get((purpose, tried.step, tried.number))
        turn = _turn(made) if made else _opaque(self.record, tried, purpose)
        return self._reviewed(turn, last=stood, value=self._value(tried, stood))

    def _reviewed(self, turn: Turn, *, last: bool, value: float | None) -> Turn:
        """A turn with what the teacher said of it and of those before it."""
        about = (turn.purpose == "plan", turn.step)
        word = self._words.get((*about, turn.attempt))
        earlier = [found for key, found in sorted(self._words.items()) if key[:2] == about]
        guidance = tuple(found.guidance for found in earlier if found.attempt < turn.attempt and found.guidance)
        accepted = word.accepted if word else None
        return turn.model_copy(update={"accepted": accepted, "last": last, "value": value, "guidance": guidance})

    def _value(self, tried: Attempt, stood: bool) -> float | None:
        """An attempt's own reward; the session's for the attempt whose words are the answer."""
        for attempt in self.record.attempts:
            if (attempt.step, attempt.number) == (tried.step, tried.number) and attempt.value is not None:
                return attempt.value
        return self.record.reward if stood and len(self.record.steps) == 1 else None


def _key(call: ModelCalled) -> Key:
    return call.purpose, call.step, call.attempt


def _turn(made: Sequence[ModelCalled]) -> Turn:
    """The calls of one turn as one conversation: what was added to the first request, then the last reply."""
    first, last = made[0], made[-1]
    prompt = first.request.messages
    said = last.request.messages
    if first.request.json_schema is not None:  # A reply that had to be repaired is no example.
        said = prompt
    elif said[: len(prompt)] != prompt:
        prompt = said
    reply = (*said[len(prompt) :], last.completion.message)
    spoken = sum(message.role == "assistant" for message in reply)
    return Turn(
        purpose=last.purpose,
        step=last.step,
        attempt=last.attempt,
        prompt=prompt,
        reply=reply,
        tools=last.request.tools,
        model=last.model,
        sampled=tuple(call.completion.token_ids for call in made[-spoken:]) if spoken <= len(made) else (),
    )


def _gave_a_verdict(call: ModelCalled) -> bool:
    try:
        return violation(parse_object(call.completion.message.content), call.request.json_schema or {}) is None
    except ValueError:
        return False


def _opaque(record: SessionRecord, tried: Attempt, purpose: Purpose) -> Turn:
    """The attempt of an agent whose model calls nobody saw."""
    described = {step.id: step.description for step in record.plan.steps}
    asked = record.task if tried.step == ANSWER_STEP else described.get(tried.step, record.task)
    return Turn(
        purpose=purpose,
        step=tried.step,
        attempt=tried.number,
        prompt=(Message(role="user", content=asked),),
        reply=(Message(role="assistant", content=tried.output),),
    )
