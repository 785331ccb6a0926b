"""The proxy: where calls go on to, how they become sessions, and what they may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from atlas.config.llm import Block

LanePolicy = Literal["auto", "paired", "routed"]
"""auto: calls are passed on; paired: each answer is verified before it goes out; routed: triage chooses."""


class ProxyBudgetConfig(Block):
    """What all calls together may consume. A call reserves what it may cost at most, so that none goes over."""

    tokens: int | None = Field(default=None, ge=1)
    """Tokens, read and written; None is unbounded."""
    usd: float | None = Field(default=None, gt=0)
    """US dollars; a call of a model without a known price is then refused. None is unbounded."""
    window_hours: float = Field(default=24.0, gt=0)
    """After so many hours it starts anew."""
    output_tokens: int = Field(default=4096, ge=1)
    """Reserved for the reply to a request that names no limit of its own."""


class ProxyConfig(Block):
    """The door for agents that change only their base URL."""

    openai_base: str | None = None
    """Upstream of `/v1/…`; None takes the agent's provider, else OpenAI."""
    openai_key_env: str | None = None
    """Variable with its key, sent for clients that have none; None takes the provider's own, on its own host only."""
    anthropic_base: str = "https://api.anthropic.com/v1"
    """Upstream of `/v1/messages`."""
    anthropic_key_env: str | None = None
    """The same for it."""
    lanes: LanePolicy = "auto"
    """auto: calls are passed on at once; paired: the teacher verifies each answer first; routed: triage chooses."""
    buffer_streams: bool = False
    """Whether a streamed answer may be held back until it is verified; without it streams always play auto."""
    learning_key: str = "default"
    """Key of sessions whose client names none."""
    answered_seconds: float = Field(default=20.0, gt=0)
    """Seconds without a further call after which an answered session is over."""
    silent_seconds: float = Field(default=900.0, gt=0)
    """The same while the agent works with its tools."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest silence of an upstream within one reply."""
    max_body_mib: int = Field(default=100, ge=1, le=1024)
    """Size of a request in MiB; a larger one is refused with 413."""
    budget: ProxyBudgetConfig = ProxyBudgetConfig()
    """What all calls together may consume."""

    @field_validator("openai_base", "anthropic_base")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url
