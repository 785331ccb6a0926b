"""An event's body as JSON text and back, with each long text of a session stored once.

Legend of the stored strings. The private-use character U+EFFE opens
    e           the character itself
    0           NUL, which Postgres holds neither in text nor in jsonb
    uXXXX       a lone surrogate, likewise
    rN:PATH;    the string at PATH (keys joined by `/`) in the body of event N of this session
    fREPR       a float that jsonb would change: NaN, the infinities, minus zero, 1e16 and beyond (whole string)
    iHEX        an integer of more than 1,000 bits (whole string)
Everything else stands as it is, so that ordinary text is readable with ordinary SQL.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import cache
from math import copysign
from typing import Any, ClassVar, Literal, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

ESC = "\ueffe"
LONG = 72
"""Characters from which on a text is worth a reference."""
FEW = 8
"""A text of fewer characters holds nothing that anybody looks for."""
RECENT = 32
"""Texts of a session that are searched for inside longer ones."""
PROBE = 16
"""Characters of such a text that are looked for first: the search for a short text is much quicker."""
KEPT = 4096
"""Texts of a session that are remembered whole."""
EMPTY = 1000
"""What a pool without texts counts for, in characters."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff\ueffe]")
_ESCAPED = re.compile("\ueffe(?:e|0|u([0-9a-f]{4})|r([0-9]+):([^;]*);)")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_]{1,40}").fullmatch
_ESC_UTF8 = ESC.encode()
_LARGE = 2**63


def escape(text: str) -> str:
    """A text that Postgres can hold; nearly always the same."""
    return _UNSTORABLE.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    char = match.group()
    if char == ESC:
        return ESC + "e"
    return ESC + "0" if char == "\x00" else f"{ESC}u{ord(char):04x}"


def unescape(text: str) -> str:
    """What `escape` was given; a reference stays as it is."""
    return _ESCAPED.sub(_unescape_one, text) if ESC in text else text


def _unescape_one(match: re.Match[str]) -> str:
    kind = match.group()[1]
    if kind == "e":
        return ESC
    if kind == "0":
        return "\x00"
    return chr(int(match.group(1), 16)) if kind == "u" else match.group()


class Pool:
    """The long texts that the events of one session hold so far."""

    def __init__(self) -> None:
        self._whole: dict[str, str] = {}
        self._recent: deque[tuple[str, str, str]] = deque(maxlen=RECENT)
        self.characters = EMPTY
        """How much is remembered."""
        self._seq = 0
        self._references = 0
        self._careful = False
        self._root: str | None = ""
        self.fresh: list[str] = []
        """Texts of the last body that no earlier one holds, as they were; those of a few characters left out."""
        self.named: list[str] = []
        """Keys of the last body's payloads that have a text below them."""

    def encode(self, seq: int, body: BaseModel) -> bytes:
        """The body of event `seq` as UTF-8 JSON; it refers to earlier events only, also when it comes a second time."""
        if seq <= self._seq:
            self._forget(lambda marker: int(marker[2 : marker.index(":")]) >= seq)
        self._seq = seq
        self._root = ""
        return self._encode(body)

    def alone(self, noun: BaseModel) -> str:
        """A noun as JSON text without references."""
        self._root = None
        return self._encode(noun).decode()

    def _encode(self, body: BaseModel) -> bytes:
        """Quickly, as if no string needed an escape; and once more with care if one did, which is rare."""
        self._references = 0
        self.fresh, self.named = [], []
        try:
            quick = to_json(self._noun(body, self._root))
            escapes = quick.count(_ESC_UTF8) if _ESC_UTF8[:1] in quick else 0  # One byte is found much sooner.
            if escapes == self._references and not (b"\\" in quick and b"\\u0000" in quick):
                return quick
        except PydanticSerializationError:
            pass  # A lone surrogate.
        own = f"{ESC}r{self._seq}:"
        self._forget(lambda marker: marker.startswith(own))
        self._careful = True
        self.fresh, self.named = [], []
        try:
            return to_json(self._noun(body, self._root))
        finally:
            self._careful = False

    def _forget(self, gone: Callable[[str], bool]) -> None:
        """Remember no text whose marker is gone."""
        self._whole = {text: marker for text, marker in self._whole.items() if not gone(marker)}
        self.characters = EMPTY + sum(map(len, self._whole))
        self._recent = deque((one for one in self._recent if not gone(one[1])), maxlen=RECENT)

    def _noun(self, noun: BaseModel, path: str | None) -> dict[str, Any]:
        """The noun's fields. Written for speed: every field of every event passes here."""
        told: dict[str, Any] = noun.__dict__.copy()
        quick, fresh = not self._careful, self.fresh
        for key in _looked_at(noun.__class__):
            value = told[key]
            kind = value.__class__
            if value is None:
                continue
            if kind is str:
                if not quick or len(value) >= LONG:
                    told[key] = self._string(value, f"{path}/{key}" if path else _below(path, key))
                elif len(value) >= FEW:
                    fresh.append(value)
            elif kind is int:
                if not -_LARGE < value < _LARGE:
                    told[key] = self._integer(value, None)
            elif value != ():
                told[key] = self._value(value, f"{path}/{key}" if path else _below(path, key))
        return told

    def _value(self, value: Any, path: str | None) -> Any:
        writer = self._WRITERS.get(value.__class__)
        if writer is not None:
            return writer(self, value, path)
        if isinstance(value, BaseModel):
            return self._noun(value, path)
        return self._value(plain(value), path)

    def _mapping(self, mapping: dict[Any, Any], path: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for key, value in mapping.items():
            name = key if type(key) is str else _key(key)
            below = _below(path, name) if _PLAIN_KEY(name) else None
            if len(name) >= FEW:
                self.fresh.append(name)
            if type(value) is str and value:
                self.named.append(name)
            told[escape(name) if self._careful else name] = self._value(value, below)
        return told

    def _list(self, values: list[Any] | tuple[Any, ...], path: str | None) -> list[Any]:
        if values and type(values[0]) is int and all(type(value) is int for value in values):
            return [self._integer(value, None) for value in values]
        return [self._value(value, _below(path, str(at))) for at, value in enumerate(values)]

    def _float(self, value: float, path: str | None) -> float | str:
        """jsonb keeps a decimal exactly but knows no NaN, no infinity, no minus zero, and reads 1e16 as an integer."""
        if -1e16 < value < 1e16 and (value or copysign(1.0, value) > 0):
            return value
        self._references += 1
        return f"{ESC}f{value!r}"

    def _integer(self, value: int, path: str | None) -> int | str:
        if value.bit_length() <= 1000:
            return value
        self._references += 1
        return f"{ESC}i{value:x}"

    def _same(self, value: Any, path: str | None) -> Any:
        return value

    def _string(self, text: str, path: str | None) -> str:
        if len(text) < LONG:
            if len(text) >= FEW:
                self.fresh.append(text)
            return escape(text) if self._careful else text
        found = self._whole.get(text)
        if found is not None:
            self._references += 1
            return found
        self.fresh.append(text)
        stored, replaced = self._with_references(text)
        if path and len(self._whole) < KEPT:
            marker = f"{ESC}r{self._seq}:{path};"
            self._whole[text] = marker
            self.characters += len(text)
            if not replaced and ESC not in text:
                self._recent.append((text, marker, text[:PROBE]))
        return stored

    def _with_references(self, text: str) -> tuple[str, bool]:
        """The text with the recent texts that it contains replaced, longest first; and whether there were any."""
        size = len(text)
        inside = [one for one in self._recent if len(one[0]) < size and one[2] in text and one[0] in text]
        if not inside:
            return (escape(text) if self._careful else text), False
        inside.sort(key=_by_length, reverse=True)
        pieces: list[tuple[str, bool]] = [(text, False)]
        for known, marker, _ in inside:
            pieces = [part for piece in pieces for part in _split(piece, known, marker)]
        self._references += sum(is_marker for _, is_marker in pieces)
        if self._careful:
            return "".join(part if is_marker else escape(part) for part, is_marker in pieces), True
        return "".join(part for part, _ in pieces), True

    _WRITERS: ClassVar[dict[type, Callable[[Pool, Any, str | None], Any]]] = {
        str: _string,
        int: _integer,
        float: _float,
        bool: _same,
        type(None): _same,
        dict: _mapping,
        list: _list,
        tuple: _list,
    }


@cache
def _looked_at(noun: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a noun that may hold more than one of a few fixed words."""
    fixed = (Literal, bool, type(None))
    parts = {name: get_args(field.annotation) or (field.annotation,) for name, field in noun.model_fields.items()}
    return tuple(
        name
        for name, field in noun.model_fields.items()
        if get_origin(field.annotation) is not Literal
        and not all(part in fixed or get_origin(part) is Literal for part in parts[name])
    )


def _below(path: str | None, key: str) -> str | None:
    """The path of a child; None below a key that a path cannot hold."""
    if path is None:
        return None
    return f"{path}/{key}" if path else key


def _by_length(known: tuple[str, str, str]) -> int:
    return len(known[0])


def _split(piece: tuple[str, bool], known: str, marker: str) -> list[tuple[str, bool]]:
    """A literal piece cut at each occurrence of a known text; a marker stays whole."""
    literal, is_marker = piece
    if is_marker or known not in literal:
        return [piece]
    parts: list[tuple[str, bool]] = []
    for at, chunk in enumerate(literal.split(known)):
        if at:
            parts.append((marker, True))
        if chunk:
            parts.append((chunk, False))
    return parts


def _key(key: object) -> str:
    return next(iter(to_jsonable_python({key: None})))


def plain(value: object) -> Any:
    """A value of a payload as JSON types: moments as ISO text, bytes as base64, the rest as what it says of itself."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return str.__str__(value)
    return to_jsonable_python(value, bytes_mode="base64", fallback=str)


class Bodies:
    """The stored bodies of one session's events, with references and escapes resolved on reading."""

    def __init__(self, stored: dict[int, str]) -> None:
        """`stored` maps seq to JSON text as `Pool.encode` wrote it, or as jsonb returned it."""
        self._stored = stored
        self._parsed: dict[int, Any] = {}

    def body(self, seq: int) -> Any:
        """The body of one event as plain JSON values."""
        tree = self._tree(seq)
        return self._restore(tree) if ESC in self._stored[seq] else tree

    def _tree(self, seq: int) -> Any:
        if seq not in self._parsed:
            self._parsed[seq] = json.loads(self._stored[seq])
        return self._parsed[seq]

    def _restore(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._string(value) if ESC in value else value
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {unescape(key): self._restore(below) for key, below in items}
        if isinstance(value, list):
            return [self._restore(below) for below in cast("list[Any]", value)]
        return value

    def _string(self, stored: str) -> str | float | int:
        if stored.startswith(ESC + "f"):
            return float(stored[2:])
        if stored.startswith(ESC + "i"):
            return int(stored[2:], 16)
        return _ESCAPED.sub(self._one, stored)

    def _one(self, match: re.Match[str]) -> str:
        if match.group(2) is None:
            return _unescape_one(match)
        target = self._at(int(match.group(2)), match.group(3))
        return match.group() if target is None else cast("str", self._string(target))

    def _at(self, seq: int, path: str) -> str | None:
        """The stored string at a path of an event; None where that event is not here."""
        if seq not in self._stored:
            return None
        found: Any = self._tree(seq)
        for key in path.split("/"):
            found = cast("list[Any]", found)[int(key)] if isinstance(found, list) else found[key]
        return found
