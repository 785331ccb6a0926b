"""Rows for trainers: SFT, GRPO and GKD, as Hugging Face `datasets` and TRL take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from atlas.export.record import SessionRecord
from atlas.export.source import StoredSession
from atlas.export.turns import Played, Role, Turn, played
from atlas.schema import Lane, Message, Noun, Purpose, ToolCall, ToolSpec, content_hash


class CalledFunction(Noun):
    """A function a model calls."""

    name: str
    """Which."""
    arguments: str
    """JSON text, as the model wrote it."""


class ChatToolCall(Noun):
    """A tool call in the form of chat templates."""

    id: str
    """The result's message repeats it."""
    type: Literal["function"] = "function"
    """Always function."""
    function: CalledFunction
    """What is called."""


class OfferedFunction(Noun):
    """A function that may be called."""

    name: str
    """Which."""
    description: str
    """One sentence for the model."""
    parameters: dict[str, Any]
    """JSON Schema of its arguments (a payload)."""


class ChatTool(Noun):
    """A tool in the form of chat templates."""

    type: Literal["function"] = "function"
    """Always function."""
    function: OfferedFunction
    """What may be called."""


class ChatMessage(Noun):
    """A message in the form of chat templates; every row has the same keys."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who speaks."""
    content: str
    """The words."""
    tool_calls: tuple[ChatToolCall, ...] | None = None
    """What the assistant calls."""
    tool_call_id: str | None = None
    """Which call a tool's message answers."""


class Sample(Noun):
    """What every training row says about where it comes from."""

    session_id: str
    """The session."""
    role: Role
    """Who is trained by it."""
    purpose: Purpose
    """What the role was asked for."""
    step: int
    """Which step; 0 for the whole task."""
    attempt: int
    """Which attempt."""
    accepted: bool | None
    """The teacher's word; null when nobody reviewed it."""
    reward: float
    """The session's reward in [0, 1]."""
    learning_key: str
    """Its group."""
    tenant: str
    """Its owner."""
    lane: Lane | None
    """Its lane."""


class SftRow(Sample):
    """A conversation to imitate; the assistant's messages after the prompt are what is learnt."""

    messages: tuple[ChatMessage, ...]
    """Prompt and reply."""
    tools: tuple[ChatTool, ...]
    """What it could call."""


class GkdRow(Sample):
    """An unguided prompt with the answer that stood at last, and the guidance it took."""

    messages: tuple[ChatMessage, ...]
    """The prompt of the first attempt, then the last attempt's words."""
    guidance: tuple[str, ...]
    """What the teacher asked for on the way; a teacher may be conditioned on it, the student is not."""
    tools: tuple[ChatTool, ...]
    """What it could call."""


class GrpoRow(Noun):
    """One prompt with every completion that was tried on it, and their rewards."""

    prompt: tuple[ChatMessage, ...]
    """What the role was told, the same for all."""
    completions: tuple[tuple[ChatMessage, ...], ...]
    """What it said, with tool calls and results."""
    rewards: tuple[float, ...]
    """One for each completion, in [0, 1]."""
    tools: tuple[ChatTool, ...]
    """What it could call."""
    session_ids: tuple[str, ...]
    """One for each completion."""
    attempts: tuple[int, ...]
    """One for each completion."""
    question: str
    """Content hash of task, key and owner: equal for rows of the same question."""
    role: Role
    """Who is trained by it."""
    purpose: Purpose
    """What the role was asked for."""
    step: int
    """Which step; 0 for the whole task."""
    learning_key: str
    """Its group."""
    tenant: str
    """Its owner."""


class Sft:
    """What the role did in sessions that have a reward: the last attempt at each thing, unless it was rejected."""

    by_question = False

    def __init__(self, role: Role) -> None:
        self._role: Role = role

    def rows(self, sessions: Sequence[StoredSession]) -> Iterator[SftRow]:
        """See `Format.rows`."""
        for told in _judged(sessions, self._role):
            for turn in told.turns:
                if turn.last and (turn.accepted is not False or self._role == "teacher"):
                    messages = _chat((*turn.prompt, *turn.reply))
                    yield SftRow(**_origin(told, turn, self._role), messages=messages, tools=_tools(turn.tools))


class Gkd:
    """For each thing the student did at last: the prompt it had first, without guidance."""

    by_question = False

    def rows(self, sessions: Sequence[StoredSession]) -> Iterator[GkdRow]:
        """See `Format.rows`."""
        for told in _judged(sessions, "student"):
            first = {(turn.purpose, turn.step): turn for turn in reversed(told.turns)}
            for turn in told.turns:
                if turn.last and turn.accepted is not False:
                    prompt = first[turn.purpose, turn.step].prompt
                    messages = _chat((*prompt, *turn.reply))
                    origin = _origin(told, turn, "student")
                    yield GkdRow(**origin, messages=messages, guidance=turn.guidance, tools=_tools(turn.tools))


class Grpo:
    """Every attempt with a known reward, together with the others on the same prompt."""

    by_question = True

    def __init__(self, role: Role) -> None:
        self._role: Role = role

    def rows(self, sessions: Sequence[StoredSession]) -> Iterator[GrpoRow]:
        """See `Format.rows`."""
        groups: dict[tuple[Message, ...], list[tuple[Played, Turn, float]]] = {}
        for told in _judged(sessions, self._role):
            for turn in told.turns:
                value = turn.value if self._role == "student" else told.record.reward
                if value is not None:
                    groups.setdefault(turn.prompt, []).append((told, turn, value))
        for prompt, tried in groups.items():
            told, turn, _ = tried[0]
            yield GrpoRow(
                prompt=_chat(prompt),
                completions=tuple(_chat(each.reply) for _, each, _ in tried),
                rewards=tuple(value for _, _, value in tried),
                tools=_tools(turn.tools),
                session_ids=tuple(each.record.session_id for each, _, _ in tried),
                attempts=tuple(each.attempt for _, each, _ in tried),
                question=_question(told.record),
                role=self._role,
                purpose=turn.purpose,
                step=turn.step,
                learning_key=told.record.learning_key,
                tenant=told.record.tenant,
            )


def _judged(sessions: Sequence[StoredSession], role: Role) -> Iterator[Played]:
    """No reward, no training; nor from a reward whose judges are barred."""
    for stored in sessions:
        told = played(stored, role)
        whole = told.record.session_reward
        if told.record.reward is not None and not (whole and whole.barred):
            yield told


def _origin(told: Played, turn: Turn, role: Role) -> dict[str, Any]:
    record = told.record
    return {
        "session_id": record.session_id,
        "role": role,
        "purpose": turn.purpose,
        "step": turn.step,
        "attempt": turn.attempt,
        "accepted": turn.accepted,
        "reward": record.reward,
        "learning_key": record.learning_key,
        "tenant": record.tenant,
        "lane": record.lane,
    }


def _question(record: SessionRecord) -> str:
    return content_hash(record.task, record.learning_key, record.tenant)


def _chat(messages: Iterable[Message]) -> tuple[ChatMessage, ...]:
    return tuple(
        ChatMessage(
            role=message.role,
            content=message.content,
            tool_calls=tuple(map(_call, message.tool_calls)) or None,
            tool_call_id=message.tool_call_id,
        )
        for message in messages
    )


def _call(call: ToolCall) -> ChatToolCall:
    return ChatToolCall(id=call.id, function=CalledFunction(name=call.name, arguments=call.arguments))


def _tools(tools: Sequence[ToolSpec]) -> tuple[ChatTool, ...]:
    return tuple(
        ChatTool(
            function=OfferedFunction(name=tool.name, description=tool.description, parameters=dict(tool.parameters))
        )
        for tool in tools
    )
