"""How people and agents at the desk put things: task texts in many paraphrases, guidance and lessons in few words."""

from __future__ import annotations

import random
from typing import Literal

from atlas.evaluate.desk.rules import BY_NAME, DeskName, Rule, nouns
from atlas.schema import Noun

Split = Literal["train", "held_out"]


class Wording(Noun):
    """The phrases of one split; no phrase occurs in both."""

    openings: tuple[str, ...]
    """How a task names its desk and client."""
    requests: tuple[str, ...]
    """One operation on two objects."""
    pairs: tuple[str, ...]
    """Two operations, one after the other."""
    asides: tuple[str, ...]
    """Distractors; `#` becomes a digit."""


WORDINGS: dict[Split, Wording] = {
    "train": Wording(
        openings=(
            "{client}, {desk} desk.",
            "Desk: {desk}. Client: {client}.",
            "This is {desk} for {client}.",
            "The {desk} desk has a request from {client}.",
            "{client} wrote to {desk}.",
            "For {client}, {desk} side:",
        ),
        requests=(
            "Please {op} {x} with {y}.",
            "We need to {op} {x} and {y}.",
            "Can you {op} {x} against {y}?",
            "The customer wants to {op} {x}, see {y}.",
            "It is about {x} and {y}: {op} now.",
            "Start a {op} for {x} on {y}.",
            "They asked for {op}, {x} and {y}.",
            "With {x} in mind, {op} {y}.",
            "Time to {op} {x} together with {y}.",
            "A {op} is due: {x}, {y}.",
        ),
        pairs=(
            "First {op} {x} with {y}, then {op2} {x2} with {y2}.",
            "Please {op} {x} and {y}; after that {op2} {x2} and {y2}.",
            "We need two things: {op} {x} against {y}, and {op2} {x2} against {y2}.",
            "Start a {op} for {x} on {y}. Also {op2} {x2} with {y2}.",
        ),
        asides=(
            "Call ### came in on day #.",
            "Memo ## is not part of this.",
            "The last agent left note ###.",
            "Priority #.",
            "Opened at ##.",
            "They were polite.",
            "Ignore ticket ###.",
        ),
    ),
    "held_out": Wording(
        openings=(
            "From {client} to the {desk} desk:",
            "{desk} request, client {client}.",
        ),
        requests=(
            "Now {op} {x}, then see {y}.",
            "Could you please {op} {x} for {y}?",
            "The client asked to {op} {x} on {y}.",
            "{x} and {y} need a {op}.",
        ),
        pairs=(
            "They want to {op} {x} with {y}, and after that {op2} {x2} with {y2}.",
            "Time to {op} {x} and {y}, then to {op2} {x2} and {y2}.",
        ),
        asides=(
            "Note ### came in at ##.",
            "Ticket ### is closed.",
            "The call took # minutes.",
        ),
    ),
}


def opening(desk: DeskName, client: str, split: Split, rng: random.Random) -> str:
    """How the task begins."""
    return rng.choice(WORDINGS[split].openings).format(desk=desk, client=client)


def aside(split: Split, rng: random.Random) -> str:
    """A distractor sentence."""
    return "".join(
        str(rng.randrange(1, 10)) if char == "#" else char
        for char in rng.choice(WORDINGS[split].asides)
    )


def rule_words(desk: DeskName, operation: str, rule: Rule) -> str:
    """A rule as an imperative, as in `use credit with order as source`."""
    return f"use {rule.tool} with {nouns(desk, operation)[rule.first]} as {BY_NAME[rule.tool].arguments[0]}"


def guidance_words(desk: DeskName, operation: str, rule: Rule) -> str:
    """A rule as a reviewer says it, as in `For refund use credit with order as source.`"""
    return f"For {operation} {rule_words(desk, operation, rule)}."
