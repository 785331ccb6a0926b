"""How a model is reached."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Block(BaseModel):
    """A block of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RetryConfig(Block):
    """How often a failing call is tried again. Only retryable failures are."""

    attempts: int = Field(default=3, ge=1, le=20)
    """Tries in all."""
    backoff_seconds: float = Field(default=1.0, ge=0)
    """First pause; it doubles with each try, with jitter. A provider's Retry-After wins."""


class PriceConfig(Block):
    """What tokens cost, in US dollars per million; for models without a list price, or with another."""

    input: float = Field(ge=0)
    """Prompt tokens that no cache served."""
    cached: float | None = Field(default=None, ge=0)
    """Prompt tokens from the provider's cache; as `input` when left out."""
    output: float = Field(ge=0)
    """Completion tokens."""


class LLMConfig(Block):
    """One model."""

    provider: str = "openai"
    """openai, anthropic, gemini, xai, groq, mistral, deepseek, together, openrouter, ollama, vllm (any
    OpenAI-compatible server at `api_base`), local (a checkpoint on disk), scripted (answers from a file), replay."""
    model: str
    """The provider's name of the model; a folder for local, a file for scripted, a session id or file for replay.
    A leading `provider/` that repeats the provider is dropped."""
    api_key_env: str | None = None
    """Environment variable that holds the key; each provider has a default."""
    api_base: str | None = None
    """Base URL; each provider has a default. With another host, name `api_key_env` too: a default key never leaves
    its own host."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus sampling mass."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Upper bound of a reply."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """Seconds for one call, retries included."""
    retry: RetryConfig = RetryConfig()
    """Retries."""
    price: PriceConfig | None = None
    """Overrides the list price."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Extra HTTP headers; `${NAME}` is read from the environment."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Extra fields of the request's JSON body, for a provider's own parameters."""
