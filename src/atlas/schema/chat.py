"""What goes to a model and what comes back: the same shapes for every provider."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from atlas.schema.base import Noun

Effect = Literal["none", "idempotent", "external"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class ToolCall(Noun):
    """A call of a tool that a model asked for."""

    id: str
    """The provider's identifier; the tool's result message repeats it."""
    name: str
    """Which tool."""
    arguments: str
    """The arguments as the raw JSON text the model wrote; not yet checked."""


class ToolSpec(Noun):
    """A tool as a model sees it."""

    name: str
    """Unique within an agent; letters, digits, underscore, dash."""
    description: str = ""
    """One sentence for the model."""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of the arguments (a payload: passed to the provider as it is)."""
    effect: Effect = "external"
    """What calling it twice would do: nothing, the same again, or something in the world."""


class Message(Noun):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who speaks."""
    content: str = ""
    """The text; empty when an assistant only calls tools."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls that the assistant asks for."""
    tool_call_id: str | None = None
    """For a tool's message: which call it answers."""


class Usage(Noun):
    """What a call or a session consumed."""

    calls: int = 0
    """Model calls that reached a provider."""
    prompt_tokens: int = 0
    """Tokens read, cached ones included."""
    cached_tokens: int = 0
    """Of the prompt tokens, those served from the provider's prefix cache."""
    completion_tokens: int = 0
    """Tokens written."""
    cost_usd: float | None = None
    """Money in US dollars; None when no price is known."""

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost_usd=sum(costs) if costs else None,
        )


class Request(Noun):
    """One question to a model."""

    messages: tuple[Message, ...]
    """The conversation, static text first so that prefix caches hit."""
    tools: tuple[ToolSpec, ...] = ()
    """Tools the model may call."""
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or a tool's name."""
    json_schema: dict[str, Any] | None = None
    """When given, the reply must be one JSON object that satisfies this JSON Schema (a payload)."""
    max_output_tokens: int | None = None
    """Upper bound of the reply's length in tokens."""
    temperature: float | None = None
    """Sampling temperature; None leaves the provider's default."""
    top_p: float | None = None
    """Nucleus sampling mass; None leaves the provider's default."""
    seed: int | None = None
    """Sampling seed where the provider takes one."""


class Completion(Noun):
    """A model's answer to one request."""

    message: Message
    """What the assistant said or which tools it calls."""
    finish_reason: FinishReason = "stop"
    """Why it stopped."""
    usage: Usage = Usage()
    """What this call consumed."""
    model: str = ""
    """The model's name as the provider reports it."""
    token_ids: tuple[int, ...] = ()
    """Sampled token ids where the endpoint returns them; the trainer then needs no re-tokenising."""
    logprob: float | None = None
    """Sum of the sampled tokens' log-probabilities (natural log), where known."""
