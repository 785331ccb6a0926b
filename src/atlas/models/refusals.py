"""What a server's refusal means: which error, with which remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from atlas.models.http import retry_after_s
from atlas.models.providers import Endpoint
from atlas.models.text import one_line, redact
from atlas.schema.errors import ModelError, ModelRefused, ModelUnavailable

_RETRYABLE = frozenset({408, 409, 425, 429})


def complaint(raw: bytes) -> str:
    """The server's own words in an error body, whichever of the usual shapes it has."""
    text = raw.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for _ in range(3):
        if isinstance(found, list) and found:
            found = cast(list[Any], found)[0]
        if not isinstance(found, dict):
            break
        node = cast(dict[str, Any], found)
        found = next((node[key] for key in ("error", "message", "detail", "msg") if node.get(key)), text)
    return found if isinstance(found, str) else text


def refusal(endpoint: Endpoint, status: int, raw: bytes, headers: Mapping[str, str]) -> ModelError:
    """The error that an HTTP status other than 2xx stands for, free of secrets."""
    said = one_line(redact(complaint(raw), endpoint.secrets))
    what = f"{endpoint.name} answered {status}" + (f": {said}" if said else ".")
    if 300 <= status < 400:
        target = urlsplit(headers.get("Location", "")).hostname or "another address"
        return ModelRefused(
            f"{endpoint.name} redirects to {target}; a key is not sent on.", "Set llm.api_base to the final address."
        )
    if status == 429 and b"insufficient_quota" in raw:
        return ModelRefused(what, "The account's quota is spent; top it up.")
    if status in _RETRYABLE or status >= 500:
        remedy = "Lower the rate or raise the account's limit." if status == 429 else "Try again later."
        return ModelUnavailable(what, remedy, retry_after_s=retry_after_s(headers))
    return ModelRefused(what, _remedy(endpoint, status))


def _remedy(endpoint: Endpoint, status: int) -> str:
    if status == 401:
        if endpoint.key_env is None:
            return "Name the key's variable in llm.api_key_env."
        return f"Check the key in {endpoint.key_env}."
    if status in (402, 403):
        return f"Check what the key in {endpoint.key_env or 'llm.api_key_env'} may do, and the account."
    if status == 404:
        return "Check llm.model and llm.api_base."
    return "Check the parameters of this llm block."
