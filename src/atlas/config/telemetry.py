"""Where sessions are told as OpenTelemetry traces."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from atlas.config.llm import Block


class TelemetryConfig(Block):
    """OpenTelemetry; needs the extra `otel`."""

    otlp_endpoint: str | None = None
    """Base URL of an OTLP/HTTP receiver, as `http://localhost:4318`; None exports nothing. `${NAME}` is read from the
    environment."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """HTTP headers of each export, for a key; `${NAME}` is read from the environment."""
    capture_content: bool = False
    """Whether prompts, answers, tool arguments, tool results and lessons are exported too."""
    service_name: str = Field(default="atlas", min_length=1)
    """`service.name` of the traces."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("must begin with http:// or https://")
        return url
