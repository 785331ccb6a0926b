"""The OpenAI protocol as the server speaks it: what it takes, strictly, and what it gives.

What a small checkpoint cannot do is refused by name, never ignored: several choices, stop words, penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from atlas.models.generation import Chosen, Generated
from atlas.schema import Completion, Message, Request, ToolCall, ToolSpec

Decode = Callable[[Iterable[int]], str]


class Part(BaseModel):
    """A piece of a request. Fields that change nothing here, such as `user`, are let through."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AskedFunction(Part):
    """A function that is called, or may be."""

    name: str
    """Which."""
    arguments: str = "{}"
    """JSON text of a call."""
    description: str = ""
    """For the model."""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of the arguments."""


class AskedCall(Part):
    """A call that was made earlier."""

    id: str = ""
    """Its id."""
    function: AskedFunction
    """What was called."""


class TextPart(Part):
    """A text among the parts of a content."""

    type: Literal["text"]
    """Only texts can be read."""
    text: str
    """The words."""


class AskedMessage(Part):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who speaks."""
    content: str | tuple[TextPart, ...] | None = None
    """The words."""
    tool_calls: tuple[AskedCall, ...] | None = None
    """Calls the assistant made."""
    tool_call_id: str | None = None
    """The call a tool's message answers."""

    def message(self) -> Message:
        """As the house knows it."""
        said = self.content or ""
        text = said if isinstance(said, str) else "".join(part.text for part in said)
        calls = tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in self.tool_calls or ()
        )
        role = "system" if self.role == "developer" else self.role
        return Message(role=role, content=text, tool_calls=calls, tool_call_id=self.tool_call_id)


class AskedTool(Part):
    """A tool that may be called."""

    type: Literal["function"] = "function"
    """Always function."""
    function: AskedFunction
    """Which."""


class StreamOptions(Part):
    """What a stream ends with."""

    include_usage: bool = False
    """Whether token counts come last."""


class Ask(Part):
    """What both kinds of request share."""

    model: str = ""
    """Any name: there is one model."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus sampling mass."""
    seed: int | None = None
    """Repeats a sample."""
    n: Literal[1, None] = None
    """One answer a request."""
    stop: Literal[None] = None
    """Not to be had."""
    presence_penalty: Literal[0, None] = None
    """Not to be had."""
    frequency_penalty: Literal[0, None] = None
    """Not to be had."""
    return_token_ids: bool = False
    """Whether the reply holds the token ids of prompt and answer, as vLLM's does."""


class ChatAsk(Ask):
    """A conversation that is to go on."""

    messages: tuple[AskedMessage, ...] = Field(min_length=1)
    """What was said."""
    tools: tuple[AskedTool, ...] | None = None
    """What may be called."""
    tool_choice: Literal["auto", "none"] | None = None
    """A small model is free, or has no tools."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens at most."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """The same by its newer name."""
    logprobs: bool = False
    """Whether each token comes with its log-probability."""
    top_logprobs: int | None = Field(default=None, ge=0, le=50)
    """And with those of so many rivals."""
    stream: bool = False
    """Whether as server-sent events."""
    stream_options: StreamOptions | None = None
    """What the stream ends with."""

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class TextAsk(Ask):
    """A text that is to go on."""

    prompt: str | tuple[int, ...] = Field(min_length=1)
    """The text, or its token ids."""
    max_tokens: int = Field(default=16, ge=1)
    """Tokens at most."""
    logprobs: int | None = Field(default=None, ge=0, le=50)
    """Log-probability of each new token, and of so many rivals."""
    prompt_logprobs: int | None = Field(default=None, ge=0, le=1000)
    """The same for each token of the prompt, as vLLM gives it."""
    stream: Literal[False, None] = None
    """Not to be had."""


def request_of(asked: ChatAsk) -> Request:
    """A conversation as the house knows it."""
    tools = tuple(
        ToolSpec(name=tool.function.name, description=tool.function.description, parameters=tool.function.parameters)
        for tool in asked.tools or ()
    )
    return Request(
        messages=tuple(message.message() for message in asked.messages),
        tools=tools,
        tool_choice=asked.tool_choice or "auto",
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=asked.seed,
    )


def chat_reply(
    asked: ChatAsk, completion: Completion, generated: Generated, prompt: Sequence[int], decode: Decode
) -> dict[str, Any]:
    """Choices and usage of a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.message.content or None}
    if completion.message.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in completion.message.tool_calls
        ]
    else:
        message["content"] = completion.message.content
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": completion.finish_reason}
    if asked.logprobs:
        choice["logprobs"] = {"content": [_told(one, decode) for one in generated.chosen], "refusal": None}
    if asked.return_token_ids:
        choice["token_ids"] = list(generated.tokens)
    reply: dict[str, Any] = {"choices": [choice], "usage": _usage(len(prompt), generated)}
    return reply | ({"prompt_token_ids": list(prompt)} if asked.return_token_ids else {})


def text_reply(
    asked: TextAsk, generated: Generated, prompt: Sequence[int], read: Sequence[Chosen] | None, decode: Decode
) -> dict[str, Any]:
    """Choices and usage of a text completion."""
    words = generated.tokens[:-1] if generated.stopped else generated.tokens
    choice: dict[str, Any] = {
        "index": 0,
        "text": decode(words),
        "finish_reason": "stop" if generated.stopped else "length",
    }
    if asked.logprobs is not None:
        choice["logprobs"] = {
            "tokens": [decode([one.token]) for one in generated.chosen],
            "token_logprobs": [one.logprob for one in generated.chosen],
            "top_logprobs": [{decode([index]): value for index, value in one.best} for one in generated.chosen],
        }
    if asked.return_token_ids:
        choice["token_ids"] = list(generated.tokens)
    if read is not None:
        choice["prompt_logprobs"] = [None, *(_ranked(one, decode) for one in read)]
    return {"choices": [choice], "usage": _usage(len(prompt), generated)}


def _ranked(one: Chosen, decode: Decode) -> dict[str, Any]:
    """A prompt token with its rivals, by token id."""
    known = dict(one.best)
    ranks = {index: rank for rank, (index, _) in enumerate(one.best, start=1)}
    known[one.token] = one.logprob
    return {
        str(index): {"logprob": value, "rank": ranks.get(index), "decoded_token": decode([index])}
        for index, value in known.items()
    }


def _told(one: Chosen, decode: Decode) -> dict[str, Any]:
    def token(index: int, logprob: float) -> dict[str, Any]:
        text = decode([index])
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {**token(one.token, one.logprob), "top_logprobs": [token(index, value) for index, value in one.best]}


def _usage(prompt_tokens: int, generated: Generated) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": len(generated.tokens),
        "total_tokens": prompt_tokens + len(generated.tokens),
        "prompt_tokens_details": {"cached_tokens": generated.cached},
    }
