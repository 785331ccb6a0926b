"""A model that says what it is told to: the first-class double of every test, demo and dry run."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from atlas.models.base import OnText
from atlas.models.text import estimate_tokens, one_line, scrub
from atlas.schema import Completion, Message, Noun, Request, ToolCall, Usage
from atlas.schema.errors import ConfigError, ModelError, ModelRefused, ModelTimeout

_WORD = re.compile(r"\s*\S+\s*$|\s*\S+|\s+")

Reply = str | Message | Completion | ModelError
"""What a script may say: words, a message with tool calls, a whole completion, or a failure."""


class ScriptedCall(Noun):
    """A tool call in a script file."""

    name: str
    """Which tool."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its arguments (a payload)."""


class Rule(Noun):
    """One line of a script file; the first rule that fits answers."""

    when: str = ""
    """Fits when it occurs in the conversation; an empty one always fits."""
    reply: str | dict[str, Any] = ""
    """What to say; a mapping is said as JSON."""
    tool_calls: tuple[ScriptedCall, ...] = ()
    """Tools to call, until the conversation holds their results; then `reply` is said."""


class ScriptedModel:
    """Answers from a list, a function, or a file of rules; counts tokens by a rough estimate; costs nothing."""

    def __init__(
        self,
        replies: Iterable[Reply] | Callable[[Request], Reply],
        *,
        name: str = "scripted:test",
        delay_s: float = 0.0,
    ) -> None:
        """A list is said in order, one reply a call. `delay_s` is how long each answer takes, in seconds."""
        self.requests: list[Request] = []
        self._name = name
        self._delay_s = delay_s
        self._say = replies if callable(replies) else _in_order(replies)

    @classmethod
    def from_file(cls, path: Path, *, name: str = "") -> ScriptedModel:
        """A YAML or JSON file with a list of rules `{when, reply, tool_calls}`.

        Raises:
            ConfigError: the file cannot be read or is no such list.
        """
        import yaml

        try:
            rules = TypeAdapter(tuple[Rule, ...]).validate_python(yaml.safe_load(path.read_text("utf-8")))
        except OSError as error:
            raise ConfigError(f"The script {path} cannot be read: {error.strerror}.", "Correct llm.model.") from None
        except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The script {path} is no list of rules: {one_line(error)}", "Write - when: …, reply: … for each rule."
            ) from None
        return cls(_by_rules(rules), name=name or f"scripted:{path.name}")

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    async def complete(self, request: Request, *, timeout_s: float, on_text: OnText | None = None) -> Completion:
        """The script's next word; streamed in pieces of one word when `on_text` is given."""
        self.requests.append(request)
        if self._delay_s >= timeout_s:
            await asyncio.sleep(timeout_s)
            raise ModelTimeout(
                f"{self._name} gave no complete answer within {timeout_s:g} s.", "Raise timeout_seconds."
            )
        await asyncio.sleep(self._delay_s)
        reply = self._say(request)
        if isinstance(reply, ModelError):
            raise reply
        completion = _completed(reply, request, self._name)
        if on_text:
            for word in _WORD.findall(completion.message.content):
                await on_text(word)
        return completion

    async def close(self) -> None:
        """Nothing to give back."""


def estimated_usage(request: Request, message: Message) -> Usage:
    """A rough count of a call that costs nothing."""
    said = message.content + "".join(call.name + call.arguments for call in message.tool_calls)
    return Usage(
        calls=1,
        prompt_tokens=sum(estimate_tokens(turn.content) for turn in request.messages),
        completion_tokens=estimate_tokens(said),
        cost_usd=0.0,
    )


def _completed(reply: str | Message | Completion, request: Request, name: str) -> Completion:
    if isinstance(reply, Completion):
        return reply
    message = Message(role="assistant", content=scrub(reply)) if isinstance(reply, str) else reply
    return Completion(
        message=message,
        finish_reason="tool_calls" if message.tool_calls else "stop",
        usage=estimated_usage(request, message),
        model=name,
    )


def _in_order(replies: Iterable[Reply]) -> Callable[[Request], Reply]:
    waiting = iter(replies)
    spent = ModelRefused("The script has no reply left.", "Give it one reply for each call.")

    def say(request: Request) -> Reply:
        return next(waiting, spent)

    return say


def _by_rules(rules: tuple[Rule, ...]) -> Callable[[Request], Reply]:
    def say(request: Request) -> Reply:
        said = "\n".join(message.content for message in request.messages)
        rule = next((rule for rule in rules if rule.when in said), None)
        if rule is None:
            return ModelRefused("No rule of the script fits this conversation.", "Add a rule without `when`.")
        if rule.tool_calls and request.tools and request.messages[-1].role != "tool":
            return Message(role="assistant", tool_calls=tuple(map(_scripted_call, range(1, 100), rule.tool_calls)))
        return rule.reply if isinstance(rule.reply, str) else json.dumps(rule.reply, ensure_ascii=False)

    return say


def _scripted_call(number: int, call: ScriptedCall) -> ToolCall:
    return ToolCall(id=f"call_{number}", name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False))
