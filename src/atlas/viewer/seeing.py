"""Texts as a page shows them: what cannot be seen is made visible, and two texts are laid side by side."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from atlas.schema import Noun

COMPARED_WORDS = 1500
"""Words up to which two texts are compared; the comparison of longer ones would hold up other readers."""
_GHOSTLY = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_BLANKS = {"\u00a0", "\u1680", "\u202f", "\u205f", "\u3000", *map(chr, range(0x2000, 0x200B))}
_LETTERLESS = {
    "\u115f",
    "\u1160",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\u034f",
    "\u17b4",
    "\u17b5",
    "\u180b",
    "\u180c",
    "\u180d",
}
_JOINED = "\u200d\ufe0f"
"""A joiner and an emoji selector between symbols are how emoji are written; anywhere else they hide something."""
_UNUSUAL = re.compile(r"[^\n\t -~]")
"""What may be something else than it looks like; the rest is passed over at the speed of a search."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def visible(text: str) -> Markup:
    """The text as HTML, each character that a reader cannot see replaced by its code and name."""
    pieces: list[str] = []
    plain = 0
    for match in _UNUSUAL.finditer(text):
        at = match.start()
        if ghostly(match[0], before=text[at - 1] if at else ""):
            pieces.append(str(escape(text[plain:at])))
            pieces.append(_ghost(match[0]))
            plain = at + 1
    pieces.append(str(escape(text[plain:])))
    return Markup("".join(pieces))  # Every part was escaped or is made here.


def ghostly(character: str, *, before: str = "") -> bool:
    """Whether a reader does not see this character, or sees another. Asked of no printable ASCII."""
    if character in _JOINED and before and unicodedata.category(before) in ("So", "Sk", "Mn", "Cf"):
        return False
    code = ord(character)
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    return selector or character in _BLANKS or character in _LETTERLESS or unicodedata.category(character) in _GHOSTLY


def _ghost(character: str) -> str:
    name = unicodedata.name(character, "control or unassigned").lower()
    return f'<span class="ghost" title="{escape(name)}">U+{ord(character):04X}</span>'


class Piece(Noun):
    """A stretch of one of two compared texts."""

    kind: str
    """same, gone or new."""
    text: str
    """The words."""


def compared(old: str, new: str) -> tuple[Piece, ...] | None:
    """The new text with what went and what came; None where they are too long to compare."""
    before, after = _WORD.findall(old), _WORD.findall(new)
    if max(len(before), len(after)) > COMPARED_WORDS:
        return None
    return tuple(_pieces(before, after))


def _pieces(before: list[str], after: list[str]) -> Iterator[Piece]:
    for what, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            yield Piece(kind="same", text="".join(before[i:j]))
            continue
        if j > i:
            yield Piece(kind="gone", text="".join(before[i:j]))
        if m > k:
            yield Piece(kind="new", text="".join(after[k:m]))
