"""Attribute values as texts, numbers and nested tables; whatever cannot be one is nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from atlas.models.text import scrub

T = TypeVar("T")

MOST_TOKENS = 10**12
"""A larger count is taken for a mistake."""
DEEPEST = 12
"""Levels of a dotted name that are read."""
LONGEST_NAME = 200
"""Characters of a name: of a model, a tool, a learning key."""
LONGEST = 4000
"""Characters of a text that a session keeps beside its conversation."""
WIDEST = 100
"""Entries of a list or table that a session keeps beside its conversation."""


def text(value: Any) -> str:
    """A text as it is; anything else as JSON; nothing as the empty text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return scrub(value)
    try:
        return scrub(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return scrub(str(value))


def parsed(value: Any) -> Any:
    """The value of a JSON text that holds a list or a table; everything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def table(value: Any) -> dict[str, Any]:
    """A table, also one written as JSON; else an empty one."""
    found = parsed(value)
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list, also one written as JSON; a single value as a list of one; nothing as an empty list."""
    found = parsed(value)
    if isinstance(found, list):
        return cast(list[Any], found)
    return [] if found is None or found == "" else [found]


def first(attributes: Mapping[str, Any], *names: str) -> Any:
    """The value of the first of these names that has one."""
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def count(value: Any) -> int:
    """A number of tokens; 0 where it is none."""
    found = number(value)
    return int(found) if found is not None and 0 <= found <= MOST_TOKENS else 0


def number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def one_of(value: Any, allowed: Sequence[T], default: T) -> T:
    """The value, where it is one of those that are allowed."""
    return next((each for each in allowed if each == value), default)


def nested(attributes: Mapping[str, Any], prefix: str) -> Any:
    """What is written flat as `prefix.0.name.1.other`, as lists and tables; None where nothing begins so."""
    root: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(prefix + "."):
            continue
        *path, last = name[len(prefix) + 1 :].split(".", DEEPEST)
        node = root
        for part in path:
            below = node.get(part)
            if not isinstance(below, dict):
                below = node[part] = dict[str, Any]()
            node = cast(dict[str, Any], below)
        node.setdefault(last, value)
    return _numbered(root) if root else None


def _numbered(node: Any) -> Any:
    """Tables whose names are all numbers become lists in the order of the numbers."""
    if not isinstance(node, dict):
        return node
    found = {name: _numbered(value) for name, value in cast(dict[str, Any], node).items()}
    if found and all(name.isascii() and name.isdecimal() and len(name) < 7 for name in found):
        return [found[name] for name in sorted(found, key=int)]
    return found


def kept(value: Any, deeper: int = 6) -> Any:
    """A payload that every store can hold: bounded in length, width and depth."""
    match value:
        case bool() | None:
            return value
        case int():
            return value if abs(value) < 2**63 else str(value)[:LONGEST]
        case float():
            return value if math.isfinite(value) else str(value)
        case list() if deeper:
            return [kept(each, deeper - 1) for each in cast(list[Any], value)[:WIDEST]]
        case dict() if deeper:
            return _kept_table(cast(dict[str, Any], value).items(), deeper)
        case _:
            return text(value)[:LONGEST]


def _kept_table(items: Iterable[tuple[str, Any]], deeper: int) -> dict[str, Any]:
    chosen = [item for item, _ in zip(items, range(WIDEST), strict=False)]
    return {scrub(name)[:LONGEST]: kept(value, deeper - 1) for name, value in chosen}
