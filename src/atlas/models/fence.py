"""A fence around untrusted text: data for a model to read, never an instruction to it."""

from __future__ import annotations

from atlas.schema import content_hash


class Fence:
    """Marks that the text inside cannot forge, because they follow from the session's random id.

    The same session and purpose give the same marks, so that a resumed session sends the same bytes.
    """

    def __init__(self, session_id: str, purpose: str) -> None:
        self._mark = content_hash(session_id, purpose)[:6]

    def wrap(self, label: str, text: str) -> str:
        """The text between an opening and a closing mark; a copy of the mark inside is broken up."""
        inner = text.replace(self._mark, self._mark[:3] + "·" + self._mark[3:])
        return f"<{label} {self._mark}>\n{inner}\n</{label} {self._mark}>"
