"""How people and agents at the desk put things: task texts in many paraphrases, guidance and lessons in few words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Literal

from atlas.evaluate.desk.rules import BY_NAME, NOUNS, DeskName, Rule, nouns
from atlas.schema import Noun

Split = Literal["train", "held_out"]


class Wording(Noun):
    """The phrases of one split; but for the sentence forms, no phrase occurs in both. `~` becomes a made-up word."""

    openings: tuple[str, ...]
    """How a task names its desk and client."""
    forms: tuple[str, ...]
    """One operation on two objects, as a sentence."""
    starts: tuple[str, ...]
    """What leads to the operation's name."""
    joints: tuple[str, ...]
    """What stands between the two objects."""
    ends: tuple[str, ...]
    """How the sentence closes."""
    links: tuple[str, ...]
    """What stands between two sentences that ask for something."""
    asides: tuple[str, ...]
    """Distractors; `#` becomes a digit, `@` a kind of object."""


FORMS = (
    "{start} {op} {x}{joint} {y}{end}",
    "{start} {op} {x}{joint} {y}{end}",
    "{x}{joint} {y}: {start} {op}{end}",
    "With {x}, {start} {op} {y}{end}",
    "a {op} for {x}{joint} {y}{end}",
)

WORDINGS: dict[Split, Wording] = {
    "train": Wording(
        openings=(
            "{client}, {desk} desk.",
            "Desk: {desk}. Client: {client}.",
            "This is {desk} for {client}.",
            "The {desk} desk has a request from {client}.",
            "{client} wrote to {desk}.",
            "For {client}, {desk} side:",
            "~ {desk} ~ {client}.",
            "{client} ~ ~ {desk}:",
        ),
        forms=FORMS,
        starts=(
            "please",
            "we need to",
            "can you",
            "kindly",
            "time to",
            "they want to",
            "the customer wants to",
            "go and",
            "do",
            "let us",
            "~",
            "~ ~",
            "~ to",
        ),
        joints=(" with", " and", " against", " on", " for", " to", " into", " by", ",", ";", " ~", " ~ ~"),
        ends=(".", "!", "?", ", thanks.", " now.", " today.", " ~."),
        links=(" Then ", " After that, ", " Also ", " And ", " ~ "),
        asides=(
            "Call ### came in on day #.",
            "Memo ## is not part of this.",
            "The last agent left note ###.",
            "Priority #.",
            "Opened at ##.",
            "They were polite.",
            "Ignore ticket ###.",
            "~ ~ ### ~.",
            "~ ~ ~.",
            "The @ is @ ~.",
            "@ ~ @ ##.",
        ),
    ),
    "held_out": Wording(
        openings=(
            "From {client} to the {desk} people:",
            "{desk} request, account of {client}.",
            "{client} needs help from {desk}.",
        ),
        forms=FORMS,
        starts=("now", "could somebody", "I would like to", "make sure to", "the next job is to", "it is urgent to"),
        joints=(" together with", " using", " over", " alongside", " via"),
        ends=(".", " soon.", ", if possible.", " this week."),
        links=(" Afterwards ", " Second: ", " Moreover, "),
        asides=(
            "Letter ### arrived at ##.",
            "Case ### is closed.",
            "It took # minutes.",
            "No rush at all.",
            "Somebody else has the @.",
        ),
    ),
}


def opening(desk: DeskName, client: str, split: Split, rng: random.Random) -> str:
    """How the task begins."""
    return _with_made_up(rng.choice(WORDINGS[split].openings), rng).format(desk=desk, client=client)


def request(operation: str, objects: Sequence[str], split: Split, rng: random.Random) -> str:
    """One operation on two objects, in the order in which they are to be named."""
    words = WORDINGS[split]
    start, joint, end = rng.choice(words.starts), rng.choice(words.joints), rng.choice(words.ends)
    form = rng.choice(words.forms).format(start=start, joint=joint, end=end, op="{op}", x="{x}", y="{y}")
    return _with_made_up(form, rng).format(op=operation, x=objects[0], y=objects[1])


def link(split: Split, rng: random.Random) -> str:
    """What stands between two requests."""
    return _with_made_up(rng.choice(WORDINGS[split].links), rng)


def aside(split: Split, rng: random.Random) -> str:
    """A distractor sentence."""
    sentence = _with_made_up(rng.choice(WORDINGS[split].asides), rng)
    while "@" in sentence:
        sentence = sentence.replace("@", rng.choice(rng.choice(list(NOUNS.values()))), 1)
    return "".join(str(rng.randrange(1, 10)) if char == "#" else char for char in sentence)


def _with_made_up(text: str, rng: random.Random) -> str:
    """Each `~` replaced by letters at random, so that unknown words are nothing new to a model."""
    while "~" in text:
        text = text.replace("~", "".join(rng.choices(ascii_lowercase, k=rng.randrange(2, 8))), 1)
    return text


def rule_words(desk: DeskName, operation: str, rule: Rule) -> str:
    """A rule as an imperative, as in `for refund use credit, with order as source`."""
    first = nouns(desk, operation)[rule.first]
    return f"for {operation} use {rule.tool}, with {first} as {BY_NAME[rule.tool].arguments[0]}"


def guidance_words(desk: DeskName, operation: str, rule: Rule) -> str:
    """A rule as a reviewer says it, as in `For refund use credit, with order as source.`"""
    return f"F{rule_words(desk, operation, rule)[1:]}."
