"""How untrusted text reaches a model: inside a fence, as data to read, never as an instruction."""

from __future__ import annotations

from atlas.schema import ToolUse, content_hash


class Fence:
    """Marks that the text inside cannot forge, because they follow from the session's random id.

    The same session and purpose give the same marks, so that a resumed session sends the same bytes.
    """

    def __init__(self, session_id: str, purpose: str) -> None:
        self._mark = content_hash(session_id, purpose)[:6]

    def wrap(self, label: str, text: str) -> str:
        """The text between an opening and a closing mark; a copy of the mark inside is broken up."""
        broken = self._mark[:3] + "·" + self._mark[3:]
        inner = text
        while self._mark in inner:  # more than once where the mark overlaps itself, as in aaaaaaaaa
            inner = inner.replace(self._mark, broken)
        return f"<{label} {self._mark}>\n{inner}\n</{label} {self._mark}>"


def tool_line(use: ToolUse) -> str:
    """One tool call with its result, on one line."""
    result = use.output if use.error is None else f"error: {use.error}"
    return f"{use.call.name}({use.call.arguments}) -> {result}"


def clip(text: str, limit: int) -> str:
    """The text, or its first and last part with the number of characters left out between, at most `limit` of it."""
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}\n[{len(text) - limit} characters left out]\n{text[len(text) - (limit - head) :]}"
