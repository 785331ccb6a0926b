"""Whether the stored bodies of a session, which come from a file here, can be read at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from atlas.store.pooling import ESC

LARGEST = 256 * 2**20
"""Characters that the texts of one session may have with every reference put in place."""
_REFERENCE = re.compile(ESC + "r([0-9]+):([^;]*);")


def check_references(bodies: Mapping[int, Any]) -> None:
    """See that every reference leads to a text of the same session, and that together they stay of a sane size.

    Raises:
        ValueError: one leads nowhere or in a circle, or the texts would be larger than `LARGEST`.
    """
    sizes: dict[tuple[int, str], int] = {}
    total = sum(_size(text, bodies, sizes) for body in bodies.values() for text in _texts(body) if ESC in text)
    if total > LARGEST:
        raise ValueError(f"its texts have more than {LARGEST:,} characters")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in cast("dict[str, Any]", value).values():
            yield from _texts(below)
    elif isinstance(value, list):
        for below in cast("list[Any]", value):
            yield from _texts(below)


def _size(text: str, bodies: Mapping[int, Any], sizes: dict[tuple[int, str], int]) -> int:
    """The length of a text once its references are in place; `sizes` remembers, -1 is being counted."""
    size = len(text)
    for number, path in _REFERENCE.findall(text):
        place = (int(number), path)
        known = sizes.get(place)
        if known == -1:
            raise ValueError(f"the reference to event {number} leads in a circle")
        if known is None:
            sizes[place] = -1
            known = sizes[place] = _size(_at(bodies, *place), bodies, sizes)
        size += known
    return size


def _at(bodies: Mapping[int, Any], seq: int, path: str) -> str:
    found = bodies.get(seq)
    try:
        for key in path.split("/"):
            found = cast("list[Any]", found)[int(key)] if isinstance(found, list) else cast("Any", found)[key]
    except (LookupError, ValueError, TypeError):
        found = None
    if not isinstance(found, str):
        raise ValueError(f"a reference leads to event {seq}, {path}, where no text is")
    return found
