"""The bodies of one session's events, references resolved: nearly always by putting texts into texts before parsing."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import from_json

from atlas.schema import Body
from atlas.store.pooling import ESC, Bodies

_REFERENCE = re.compile(ESC + "r([0-9]+):([^;]*);")
_OTHER = re.compile(ESC + "[^r]")
_BODY = TypeAdapter[Body](Body).validator


class SessionBodies:
    """As `Bodies` of the store, for reading many events of a session at once."""

    def __init__(self, stored: dict[int, str]) -> None:
        """`stored` maps seq to JSON text as the database returned it."""
        self._stored = stored
        self._plainly = Bodies(stored)
        self._unusual = any(ESC in text and _OTHER.search(text) for text in stored.values())
        self._trees: dict[int, Any] = {}
        self._quoted: dict[tuple[str, str], str] = {}

    def tree(self, seq: int) -> Any:
        """The body of one event as plain JSON values; not to be changed.

        Raises:
            LookupError: a reference leads nowhere.
        """
        found = self._trees.get(seq)
        if found is None:
            text = self._text(seq)
            found = self._trees[seq] = self._plainly.body(seq) if text is None else from_json(text)
        return found

    def body(self, seq: int) -> Body:
        """The body of one event.

        Raises:
            LookupError: a reference leads nowhere.
            ValueError: it is not what its type says.
        """
        text = self._text(seq) if seq not in self._trees else None
        return _BODY.validate_python(self.tree(seq)) if text is None else _BODY.validate_json(text)

    def _text(self, seq: int) -> str | None:
        """The body as JSON text; None where it takes more than putting texts in."""
        text = self._stored[seq]
        if ESC not in text:
            return text
        if self._unusual or f"{ESC}r{seq}:" in text:  # An escape, or a reference to this event itself.
            return None
        return _REFERENCE.sub(self._put_in, text)

    def _put_in(self, match: re.Match[str]) -> str:
        """What a reference stands for, as it stands between the quotes of a JSON string."""
        seq, path = match.group(1), match.group(2)
        quoted = self._quoted.get((seq, path))
        if quoted is None:
            found = self.tree(int(seq))
            for key in path.split("/"):
                found = cast("list[Any]", found)[int(key)] if isinstance(found, list) else found[key]
            quoted = self._quoted[seq, path] = json.dumps(found, ensure_ascii=False)[1:-1]
        return quoted
