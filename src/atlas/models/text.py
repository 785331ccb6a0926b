"""Text as it may be sent, shown and stored."""

from __future__ import annotations

import re
from collections.abc import Iterable

from atlas.schema import Message

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"[\s\x00-\x1f\x7f]+")


def scrub(text: str) -> str:
    """The text with split surrogate pairs joined and lone surrogates replaced by U+FFFD: UTF-8 cannot carry them."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def scrubbed_message(message: Message) -> Message:
    """The message with every text scrubbed; the same object when nothing had to change."""
    content = scrub(message.content)
    calls = tuple(
        call.model_copy(update={"name": scrub(call.name), "arguments": scrub(call.arguments)})
        for call in message.tool_calls
    )
    if content == message.content and calls == message.tool_calls:
        return message
    return message.model_copy(update={"content": content, "tool_calls": calls})


def one_line(text: object, limit: int = 300) -> str:
    """At most `limit` characters on one line, for an error message."""
    line = _SPACES.sub(" ", scrub(str(text))).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets that a server may have echoed."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return text


def estimate_tokens(text: str) -> int:
    """A rough count where nobody tells the true one: four characters a token, at least one for a non-empty text."""
    return -(-len(text) // 4)
