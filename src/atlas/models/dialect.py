"""What one server has been found not to understand. It only ever shrinks, so a concession is made once."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from atlas.models.providers import Endpoint, JsonMode
from atlas.models.wire import encode, response_format
from atlas.schema import Request

_LOG = logging.getLogger("atlas.models")
_WEAKER: dict[JsonMode, JsonMode] = {"json_schema": "json_object", "json_object": "text"}
_ABOUT_FORMAT = re.compile(r"response_format|json_schema|json_object|structured.output|guided", re.I)
_NOT_TAKEN = re.compile(
    r"support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|only the default|deprecated", re.I
)
_OPTIONAL = ("temperature", "top_p", "seed", "stream_options", "return_token_ids")
_LENGTH_FIELDS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


class Dialect:
    """How one server wants to be asked."""

    def __init__(self, endpoint: Endpoint) -> None:
        provider = endpoint.provider
        self._endpoint = endpoint
        self._json_mode: JsonMode = provider.json_mode
        self._length_field = provider.length_field if endpoint.own_host else "max_tokens"
        self._length_field_changed = False
        self._dropped: set[str] = set()

    def body(self, request: Request, *, extra: Mapping[str, Any], stream: bool) -> dict[str, Any]:
        """The JSON body for this server; the user's `extra` fields win."""
        body = encode(request, self._endpoint.model)
        if request.max_output_tokens is not None:
            body[self._length_field] = request.max_output_tokens
        if request.json_schema is not None and self._json_mode != "text":
            strict = self._json_mode == "json_schema"
            body["response_format"] = response_format(request.json_schema) if strict else {"type": "json_object"}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        body |= self._endpoint.provider.extra_body
        for name in self._dropped:
            body.pop(name, None)
        return {**body, **extra}

    def concede(self, sent: Mapping[str, Any], complaint: str) -> bool:
        """Learn from a server that refused a body; True when the same request is worth one more try."""
        used: JsonMode = sent.get("response_format", {}).get("type", "text")
        if used != "text" and _ABOUT_FORMAT.search(complaint):
            if used == self._json_mode:
                self._json_mode = _WEAKER[used]
                self._tell("response_format")
            return self._json_mode != used
        for name in _OPTIONAL:
            if name in sent and name in complaint and _NOT_TAKEN.search(complaint):
                self._dropped.add(name)
                self._tell(name)
                return True
        return self._concede_length_field(sent, complaint)

    def _concede_length_field(self, sent: Mapping[str, Any], complaint: str) -> bool:
        name = next((name for name in _LENGTH_FIELDS if name in sent), None)
        if name is None or name not in complaint or not _NOT_TAKEN.search(complaint):
            return False
        if name == self._length_field and not self._length_field_changed:
            self._length_field, self._length_field_changed = _LENGTH_FIELDS[name], True
            self._tell(name)
        return name != self._length_field

    def _tell(self, name: str) -> None:
        _LOG.warning("%s does not take %s as sent; it is asked without from now on.", self._endpoint.name, name)
