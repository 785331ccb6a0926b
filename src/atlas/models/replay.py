"""A model that answers from a recording: sessions of Atlas, or conversations in the OpenAI message format."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TextIO

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from atlas.models.base import OnText
from atlas.models.caller import request_hash
from atlas.models.scripted import estimated_usage
from atlas.models.text import one_line, scrub
from atlas.schema import Completion, Event, Message, Noun, Request, ToolCall, Usage, content_hash
from atlas.schema.errors import ConfigError, ModelRefused
from atlas.schema.events import ModelCalled

Match = Literal["request", "conversation"]


class RecordedTurn(Noun):
    """One message of a recorded conversation."""

    message: Message
    """What was said."""
    usage: Usage | None = None
    """What saying it consumed, where the recording knows."""


class Recording(Noun):
    """One recorded conversation."""

    id: str
    """The recording's own identifier."""
    model: str
    """Who spoke as the assistant."""
    turns: tuple[RecordedTurn, ...]
    """The conversation, in order."""


class ReplayModel:
    """Gives each recorded request its recorded answer; a request that comes more often gets the last one again."""

    def __init__(
        self,
        pairs: Iterable[tuple[Request, Completion]],
        *,
        name: str = "replay:recording",
        match: Match = "request",
    ) -> None:
        """`match`: `request` means the very same request, `conversation` the same turns under any system text."""
        self._name = name
        self._match: Match = match
        self._answers: dict[str, list[Completion]] = defaultdict(list)
        for request, completion in pairs:
            self._answers[self._key(request)].append(completion)
        self._given: dict[str, int] = defaultdict(int)

    @classmethod
    def from_events(cls, events: Iterable[Event], *, name: str = "replay:session") -> ReplayModel:
        """The model calls of recorded sessions."""
        calls = (event.body for event in events if isinstance(event.body, ModelCalled))
        return cls(((call.request, call.completion) for call in calls), name=name)

    @classmethod
    def from_file(cls, path: Path, *, name: str = "") -> ReplayModel:
        """Every assistant turn of the conversations in a JSONL file, plain or `.xz`.

        Raises:
            ConfigError: the file cannot be read, or a line is no conversation.
        """
        pairs = (pair for recording in read_recordings(path) for pair in exchanges(recording))
        return cls(pairs, name=name or f"replay:{path.name}", match="conversation")

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    async def complete(self, request: Request, *, timeout_s: float, on_text: OnText | None = None) -> Completion:
        """The recorded answer.

        Raises:
            ModelRefused: this request is not in the recording.
        """
        key = self._key(request)
        answers = self._answers.get(key)
        if not answers:
            last = one_line(request.messages[-1].content, 60) if request.messages else ""
            raise ModelRefused(
                f"{self._name} holds no answer to this request, which ends with {last!a}.",
                "Replay the session with the configuration and the playbook it was recorded with.",
            )
        completion = answers[min(self._given[key], len(answers) - 1)]
        self._given[key] += 1
        if on_text and completion.message.content:
            await on_text(completion.message.content)
        return completion

    async def close(self) -> None:
        """Nothing to give back."""

    def _key(self, request: Request) -> str:
        if self._match == "request":
            return request_hash("", request)
        parts: list[str] = []
        for message in request.messages:
            if message.role != "system":
                parts += (message.role, message.content, str(len(message.tool_calls)))
                parts += (text for call in message.tool_calls for text in (call.name, call.arguments))
        return content_hash(*parts)


def exchanges(recording: Recording) -> Iterator[tuple[Request, Completion]]:
    """Each assistant turn as the answer to everything before it, free of cost."""
    said: list[Message] = []
    for turn in recording.turns:
        if turn.message.role == "assistant":
            request = Request(messages=tuple(said))
            yield (
                request,
                Completion(
                    message=turn.message,
                    finish_reason="tool_calls" if turn.message.tool_calls else "stop",
                    usage=turn.usage or estimated_usage(request, turn.message),
                    model=recording.model,
                ),
            )
        said.append(turn.message)


def read_recordings(path: Path) -> Iterator[Recording]:
    """The conversations of a JSONL file, plain or `.xz`, one a line.

    A line holds `messages`, or a `simulation` that does. A system text `@sys:KEY` is looked up in the file
    `NAME.system.json` beside it.

    Raises:
        ConfigError: the file cannot be read, or a line is no conversation.
    """
    try:
        with _open_text(path) as file:
            system = _system_texts(path)
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _recording(line, system, f"{path.name}, line {number}")
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recording {path} cannot be read: {one_line(error)}.", "Correct llm.model.") from None


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Call(_Loose):
    id: str = ""
    name: str = Field(validation_alias=AliasChoices("name", AliasPath("function", "name")))
    arguments: str | dict[str, Any] = Field(
        default="", validation_alias=AliasChoices("arguments", AliasPath("function", "arguments"))
    )


class _Usage(_Loose):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Turn(_Loose):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = Field(default=None, validation_alias=AliasChoices("tool_call_id", "id"))
    usage: _Usage | None = None


class _Line(_Loose):
    id: str = Field(default="", validation_alias=AliasChoices("id", AliasPath("simulation", "id"), "run"))
    model: str = Field(default="", validation_alias=AliasChoices("model", "agent"))
    messages: list[_Turn] = Field(validation_alias=AliasChoices("messages", AliasPath("simulation", "messages")))


def _open_text(path: Path) -> TextIO:
    return lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")


def _system_texts(path: Path) -> dict[str, str]:
    beside = path.with_name(path.name.split(".")[0] + ".system.json")
    return json.loads(beside.read_text("utf-8")) if beside.exists() else {}


def _recording(line: str, system: dict[str, str], where: str) -> Recording:
    try:
        read = _Line.model_validate(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is no recorded conversation: {one_line(error, 150)}", "Remove it.") from None
    return Recording(id=read.id or where, model=read.model, turns=tuple(_turn(turn, system) for turn in read.messages))


def _turn(turn: _Turn, system: dict[str, str]) -> RecordedTurn:
    content = scrub(turn.content or "")
    if content.startswith("@sys:"):
        content = system.get(content.removeprefix("@sys:"), content)
    calls = tuple(
        ToolCall(
            id=call.id,
            name=call.name,
            arguments=call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments),
        )
        for call in turn.tool_calls or ()
    )
    usage = turn.usage and Usage(
        calls=1,
        prompt_tokens=turn.usage.prompt_tokens,
        completion_tokens=turn.usage.completion_tokens,
        cost_usd=0.0,
    )
    call_id = turn.tool_call_id if turn.role == "tool" else None
    return RecordedTurn(
        message=Message(role=turn.role, content=content, tool_calls=calls, tool_call_id=call_id), usage=usage
    )
