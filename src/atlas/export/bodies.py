"""The bodies of one session's events, references resolved: in large ones by putting texts in before they are parsed."""

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
SMALL = 600
"""Characters of a stored body below which its references are replaced one by one."""
_quote = json.JSONEncoder(ensure_ascii=False).encode
_DEEP = frozenset({str, dict, list})
_BODY = TypeAdapter[Body](Body).validator


class SessionBodies:
    """As `Bodies` of the store, for reading many events of a session at once."""

    def __init__(self, stored: dict[int, str]) -> None:
        """`stored` maps seq to JSON text as the database returned it."""
        self._stored = stored
        self._plainly = Bodies(stored)
        self._unusual = any(ESC in text and _OTHER.search(text) for text in stored.values())
        self._trees: dict[int, Any] = {}
        self._raw: dict[int, Any] = {}
        self._texts: dict[tuple[str, str], str] = {}
        self._quotes: dict[str, str] = {}

    def body(self, seq: int) -> Body:
        """The body of one event.

        Raises:
            LookupError: a reference leads nowhere.
            ValueError: it is not what its type says.
        """
        text = self._stored[seq]
        if seq in self._trees or (self._unusual and ESC in text):
            return _BODY.validate_python(self.tree(seq))
        if ESC not in text:
            return _BODY.validate_json(text)
        return _BODY.validate_json(_REFERENCE.sub(self._quoted, text))

    def tree(self, seq: int) -> Any:
        """The body of one event as plain JSON values; not to be changed.

        Raises:
            LookupError: a reference leads nowhere.
        """
        found = self._trees.get(seq)
        if found is None:
            found = self._trees[seq] = self._read(seq, self._stored[seq])
        return found

    def _read(self, seq: int, text: str) -> Any:
        if ESC not in text:
            return from_json(text)
        if self._unusual:
            return self._plainly.body(seq)
        if len(text) < SMALL:
            return self._resolved(from_json(text))
        return from_json(_REFERENCE.sub(self._quoted, text))

    def _resolved(self, value: Any) -> Any:
        """A small tree with every reference replaced."""
        kind: type[object] = value.__class__
        if kind is str:
            if ESC not in value:
                return value
            whole = _REFERENCE.fullmatch(value)
            return self._text(whole) if whole else _REFERENCE.sub(self._text, value)
        if kind is dict:
            return {key: self._resolved(below) if below.__class__ in _DEEP else below for key, below in value.items()}
        return [self._resolved(below) if below.__class__ in _DEEP else below for below in value]

    def _quoted(self, match: re.Match[str]) -> str:
        """What a reference stands for, as it stands between the quotes of a JSON string."""
        whole = match.group()
        quoted = self._quotes.get(whole)
        if quoted is None:
            quoted = self._quotes[whole] = _quote(self._text(match))[1:-1]
        return quoted

    def _text(self, match: re.Match[str]) -> str:
        """What a reference stands for."""
        seq, path = match.group(1), match.group(2)
        text = self._texts.get((seq, path))
        if text is None:
            number = int(seq)
            whole = self._trees.get(number)
            found = self._raw.get(number) if whole is None else whole
            if found is None:
                found = self._raw[number] = from_json(self._stored[number])
            for key in path.split("/"):
                found = cast("list[Any]", found)[int(key)] if isinstance(found, list) else found[key]
            text = self._texts[seq, path] = self._resolved(found) if whole is None else cast("str", found)
        return text
