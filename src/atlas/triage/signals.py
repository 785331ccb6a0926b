"""What speaks for or against the student's success before, and right after, it acts: as numbers."""

from __future__ import annotations

import itertools
import math
import re
import zlib

from pydantic import Field

from atlas.schema import Noun

WORDS = 128
"""Buckets that words and neighbouring pairs of words are hashed into."""
_WORD = re.compile(r"[^\W\d_]+|\d+")
_MAX_TEXT = 20_000
"""Characters of a prompt that are read."""


class Look(Noun):
    """A first look at what the student made of the task; it needs no model."""

    size: float = Field(ge=0)
    """How much it wrote, in any one unit (characters, tokens)."""
    seconds: float | None = Field(default=None, ge=0)
    """How long it took; None where unknown."""
    tools: int = 0
    """Tool calls it made."""


class Signals(Noun):
    """What is known of one task."""

    key: str = "default"
    """Learning key."""
    prompt: str = ""
    """The request in words."""
    past: dict[str, float] = Field(default_factory=dict)
    """How this very task went before, from 0 to 1, by the policy that tried it (a payload)."""
    look: Look | None = None
    """None before the student acts."""


def text_features(prompt: str) -> list[float]:
    """Length, numbers, parts and hashed words of a prompt; `WORDS` + 5 numbers of the order of 1."""
    words = _WORD.findall(prompt[:_MAX_TEXT].lower())
    buckets = [0.0] * WORDS
    for one in {*words, *(f"{left} {right}" for left, right in itertools.pairwise(words))}:
        buckets[zlib.crc32(one.encode()) % WORDS] += 1
    size = math.sqrt(sum(count * count for count in buckets)) or 1.0
    numbers = sum(word.isdigit() for word in words)
    shape = [math.log1p(len(words)) / 3, numbers / 5, prompt.count(",") / 5, words.count("and") / 2]
    return [*shape, prompt.count("?") / 2, *(2 * count / size for count in buckets)]


def look_features(look: Look | None) -> list[float]:
    """Size, time and tool calls of a first look on a log scale, with their squares; zeros where there is none."""
    if look is None:
        return [0.0] * 6
    size, tools = math.log1p(look.size) / 2, math.log1p(look.tools)
    seconds = 0.0 if look.seconds is None else math.log(0.1 + look.seconds)
    return [size, size * size / 4, seconds, seconds * seconds / 4, tools, 1.0]
