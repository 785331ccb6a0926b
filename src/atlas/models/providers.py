"""Where each provider lives, which key it wants, and how its dialect of the OpenAI protocol differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from atlas.config.llm import LLMConfig
from atlas.models.http import check_url, expand_headers, is_local, read_secret
from atlas.schema.errors import ConfigError

JsonMode = Literal["json_schema", "json_object", "text"]


@dataclass(frozen=True)
class Provider:
    """One OpenAI-compatible provider."""

    base: str
    """Default base URL; `/chat/completions` follows it."""
    key_env: str | None
    """Variable that holds the key by default; None where no key is needed."""
    prices: str | None = None
    """The provider's id in genai-prices; None where a token has no list price."""
    json_mode: JsonMode = "json_schema"
    """The strictest structured output it is known to take."""
    length_field: str = "max_tokens"
    """What it calls the upper bound of a reply."""
    extra_body: dict[str, object] = field(default_factory=dict[str, object])
    """Fields that only this provider understands."""


PROVIDERS: dict[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "openai", length_field="max_completion_tokens"),
    "anthropic": Provider("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "anthropic", json_mode="text"),
    "gemini": Provider("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "google"),
    "xai": Provider("https://api.x.ai/v1", "XAI_API_KEY", "x-ai"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq"),
    "mistral": Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral"),
    "deepseek": Provider("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek", json_mode="json_object"),
    "together": Provider("https://api.together.xyz/v1", "TOGETHER_API_KEY", "together"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter"),
    "ollama": Provider("http://localhost:11434/v1", None),
    "vllm": Provider("http://localhost:8000/v1", None, extra_body={"return_token_ids": True}),
}


@dataclass(frozen=True)
class Endpoint:
    """A provider as one configuration reaches it."""

    provider: Provider
    """The row of the table."""
    name: str
    """`provider:model`."""
    model: str
    """The model's name on the wire."""
    url: str
    """Where requests go."""
    host: str
    """The host in it."""
    own_host: bool
    """Whether that is the provider's own address."""
    key_env: str | None
    """The variable that held the key; None when no key is sent."""
    headers: dict[str, str] = field(repr=False)
    """Headers of every request, the key among them."""
    secrets: tuple[str, ...] = field(repr=False)
    """What must never appear in an error."""


def plain_model(config: LLMConfig) -> str:
    """The model's name without a leading `provider/` that only repeats the provider."""
    return config.model.removeprefix(f"{config.provider}/")


def resolve(config: LLMConfig) -> Endpoint:
    """Where and with which key this configuration's requests go.

    A default key is sent to the provider's own host only, over the default scheme.

    Raises:
        ConfigError: unknown provider, bad address, a key that is missing or would leave its host.
    """
    provider = PROVIDERS.get(config.provider)
    if provider is None:
        raise ConfigError(f"Unknown llm.provider {config.provider!a}.", f"Use one of: {', '.join(PROVIDERS)}.")
    model = plain_model(config)
    base = (config.api_base or provider.base).rstrip("/")
    host = check_url(base, "llm.api_base")
    own, given = urlsplit(provider.base), urlsplit(base)
    own_host = (given.scheme, given.netloc) == (own.scheme, own.netloc)
    headers, secrets = expand_headers(config.headers)
    key_env: str | None = None
    if not any(name.lower() == "authorization" for name in headers):
        key_env = _key_variable(config, provider, host, own_host=own_host)
    if key_env:
        key = read_secret(key_env, f"{config.provider}:{model}")
        headers["Authorization"] = f"Bearer {key}"
        secrets = (*secrets, key)
    return Endpoint(
        provider=provider,
        name=f"{config.provider}:{model}",
        model=model,
        url=f"{base}/chat/completions",
        host=host,
        own_host=own_host,
        key_env=key_env,
        headers={"Content-Type": "application/json", **headers},
        secrets=secrets,
    )


def _key_variable(config: LLMConfig, provider: Provider, host: str, *, own_host: bool) -> str | None:
    """Which variable holds the key for this host; None when no key is to be sent."""
    if config.api_key_env is not None:
        return config.api_key_env or None
    if provider.key_env is None or own_host:
        return provider.key_env
    if is_local(host):
        return None
    raise ConfigError(
        f"llm.api_base points to {host}, where the default key {provider.key_env} is not sent.",
        'Name the key\'s variable in llm.api_key_env ("" when it needs none).',
    )
