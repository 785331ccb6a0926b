"""`${NAME}` in the few places of a configuration that may read the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from atlas.schema.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Path = tuple[str | int, ...]
"""Where a value stands in the configuration."""

_LLM_BLOCKS: frozenset[Path] = frozenset(
    {
        ("agent", "llm"),
        ("teacher", "llm"),
        ("rim", "small_model"),
        ("rim", "large_model"),
        ("adaptive_teaching", "probe", "llm"),
        ("learning", "llm"),
    }
)


def may_read_environment(path: Path) -> bool:
    """Whether `${NAME}` is replaced at this place: database_url, url, api_base, otlp_endpoint, values of headers."""
    if path in {("storage", "database_url"), ("agent", "url"), ("telemetry", "otlp_endpoint")}:
        return True
    if path[-1:] == ("api_base",) and path[:-1] in _LLM_BLOCKS:
        return True
    return path[-2:-1] == ("headers",) and (
        path[:-2] in (("agent",), ("telemetry",)) or path[:-2] in _LLM_BLOCKS or path[:2] == ("agent", "tool_servers")
    )


def expand_env(text: str, environ: Mapping[str, str] | None = None) -> str:
    """The text with every `${NAME}` replaced by the environment's value.

    Raises:
        ConfigError: a variable is not set; the error names it, never a value.
    """
    known = os.environ if environ is None else environ
    missing = [name for name in _VARIABLE.findall(text) if name not in known]
    if missing:
        raise ConfigError(
            f"The environment variable {missing[0]} is not set.", f"Set it, or add it to .env: {missing[0]}=…"
        )
    return _VARIABLE.sub(lambda match: known[match[1]], text)
