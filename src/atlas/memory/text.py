"""The door for text that will stand in a prompt: one plain line, with nothing in it that a reviewer cannot see."""

from __future__ import annotations

import unicodedata

MAX_CUE = 80
"""Characters of a cue."""
MAX_ACTION = 400
"""Characters of an action or an expected effect."""

_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_TURN_MARKS = ("<|", "|>", "[INST]", "<s>", "</s>")


def plain_line(text: str, limit: int) -> str:
    """The text on one line: white space collapsed, control, zero-width, bidirectional and tag characters removed.

    Raises:
        ValueError: it is longer than `limit`, holds unassigned or private characters, or a mark of a chat template.
    """
    kept = "".join(map(_seen, unicodedata.normalize("NFC", text)))
    line = " ".join(kept.split())
    if len(line) > limit:
        raise ValueError(f"it has {len(line)} characters, {limit} are allowed")
    if any(mark in line for mark in _TURN_MARKS):
        raise ValueError("it holds a mark that ends a turn in a chat template")
    return line


def visible(text: str) -> str:
    """The text without what nobody sees; what nobody can read stands as a space."""
    return "".join(map(_shown, unicodedata.normalize("NFKC", text)))


def _shown(letter: str) -> str:
    try:
        return _seen(letter)
    except ValueError:
        return " "


def _seen(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    if kind == "Cf" or letter in _UNSEEN or 0xFE00 <= ord(letter) <= 0xFE0F or 0xE0100 <= ord(letter) <= 0xE01EF:
        return ""
    if kind in ("Cn", "Co", "Cs"):
        raise ValueError(f"it holds the character U+{ord(letter):04X}, which nobody can read")
    return letter


def folded(text: str) -> str:
    """The text as it is compared: without case and without differences in white space."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def occurs(words: str, text: str) -> bool:
    """Whether the folded words occur in the folded text, not inside longer words."""
    at = text.find(words) if words else -1
    while at >= 0:
        end = at + len(words)
        if not _joins(text[at - 1 : at], words[0]) and not _joins(words[-1], text[end : end + 1]):
            return True
        at = text.find(words, at + 1)
    return False


def _joins(left: str, right: str) -> bool:
    return bool(left and right) and all(letter.isalnum() or letter == "_" for letter in (left, right))
