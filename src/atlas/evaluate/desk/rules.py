"""What the desk knows: its tools, its operations, and which rule each of its clients follows today.

The student of the pocket family was trained while one convention held per desk and operation (`legacy`). Since then
about half of the operations follow a new one, and clients differ (`today`). Nothing in a task's text tells which.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Literal

from atlas.schema import Noun

DeskName = Literal["billing", "shipping", "accounts"]
DESKS: tuple[DeskName, ...] = ("billing", "shipping", "accounts")
CLIENTS = ("acme", "globex")

Field = Literal["owner", "place", "links", "holds", "score", "label"]


class Tool(Noun):
    """A tool as the desk knows it: two arguments and one effect on the first object."""

    name: str
    """What a model calls."""
    arguments: tuple[str, str]
    """Names of its two arguments, in order."""
    field: Field
    """Which field of the first object it changes."""
    effect: Literal["set", "add", "count"]
    """How: write the second object's id, add it to a set, or count it up."""


TOOLS = (
    Tool(name="post", arguments=("source", "target"), field="score", effect="count"),
    Tool(name="link", arguments=("parent", "child"), field="links", effect="add"),
    Tool(name="move", arguments=("origin", "goal"), field="place", effect="set"),
    Tool(name="credit", arguments=("source", "target"), field="holds", effect="count"),
    Tool(name="debit", arguments=("source", "target"), field="owner", effect="set"),
    Tool(name="adjust", arguments=("parent", "child"), field="label", effect="set"),
    Tool(name="route", arguments=("origin", "goal"), field="links", effect="set"),
    Tool(name="load", arguments=("parent", "child"), field="holds", effect="add"),
    Tool(name="scan", arguments=("origin", "goal"), field="label", effect="count"),
    Tool(name="grant", arguments=("source", "target"), field="owner", effect="add"),
    Tool(name="assign", arguments=("parent", "child"), field="place", effect="add"),
    Tool(name="bind", arguments=("source", "target"), field="score", effect="set"),
)
BY_NAME = {tool.name: tool for tool in TOOLS}
SHARED_TOOLS = ("post", "link", "move")
DESK_TOOLS: dict[DeskName, tuple[str, ...]] = {
    "billing": (*SHARED_TOOLS, "credit", "debit", "adjust"),
    "shipping": (*SHARED_TOOLS, "route", "load", "scan"),
    "accounts": (*SHARED_TOOLS, "grant", "assign", "bind"),
}
NEW_TOOLS = ("adjust", "scan", "bind")
"""One tool a desk that no legacy convention uses: it came after the student was trained."""

NOUNS: dict[DeskName, tuple[str, ...]] = {
    "billing": ("order", "invoice", "payment", "ledger"),
    "shipping": ("parcel", "depot", "truck", "crate"),
    "accounts": ("user", "team", "plan", "seat"),
}
SHARED_OPERATIONS = (
    "transfer",
    "cancel",
    "merge",
    "renew",
    "archive",
    "swap",
    "review",
)
OWN_OPERATIONS: dict[DeskName, tuple[str, ...]] = {
    "billing": ("refund", "discount", "waive", "dispute", "escrow", "settle", "bill"),
    "shipping": (
        "reroute",
        "dispatch",
        "recall",
        "repack",
        "insure",
        "bundle",
        "return",
    ),
    "accounts": ("invite", "upgrade", "suspend", "verify", "unlock", "promote"),
}


def operations(desk: DeskName) -> tuple[str, ...]:
    """All operations of a desk, the shared ones first."""
    return (*SHARED_OPERATIONS, *OWN_OPERATIONS[desk])


class Rule(Noun):
    """How an operation is done: which tool, and which of the two operands is its first argument."""

    tool: str
    """The tool's name."""
    first: Literal[0, 1]
    """Index of the operand that goes into the tool's first argument."""


def all_rules(desk: DeskName) -> tuple[Rule, ...]:
    """Every rule an operation of this desk could follow."""
    return tuple(Rule(tool=tool, first=first) for tool in DESK_TOOLS[desk] for first in (0, 1))


@cache
def nouns(desk: DeskName, operation: str) -> tuple[str, str]:
    """The kinds of the operation's two operands."""
    rng = random.Random(f"nouns/{desk}/{operation}")
    first, second = rng.sample(NOUNS[desk], 2)
    return first, second


@cache
def legacy(desk: DeskName, operation: str) -> Rule:
    """The convention of the days when the student was trained; five of the shared operations agree on every desk."""
    shared = operation in SHARED_OPERATIONS[:5]
    rng = random.Random(f"legacy/{'all' if shared else desk}/{operation}")
    tools = SHARED_TOOLS if shared else [tool for tool in DESK_TOOLS[desk] if tool not in NEW_TOOLS]
    return Rule(tool=rng.choice(tools), first=rng.choice((0, 1)))


@cache
def today(desk: DeskName, client: str, operation: str) -> Rule:
    """The rule that holds now for this client."""
    old = legacy(desk, operation)
    rng = random.Random(f"today/{desk}/{operation}")
    share = rng.random()
    changed_for = _changed_for(desk, operation)
    if client not in changed_for:
        return old
    if share < 0.7 or len(changed_for) == 1:
        return _new_rule(desk, operation, "all", old)
    return _new_rule(desk, operation, client, old)


@cache
def _changed_for(desk: DeskName, operation: str) -> tuple[str, ...]:
    """Clients for whom the operation changed: both, one of them, or none; about half of all pairs."""
    names = operations(desk)
    order = sorted(names, key=lambda name: random.Random(f"changed/{desk}/{name}").random())
    rank = order.index(operation) / len(names)
    if rank < 0.36:
        return CLIENTS
    if rank < 0.5:
        return (CLIENTS[0],)
    return (CLIENTS[1],) if rank < 0.64 else ()


def _new_rule(desk: DeskName, operation: str, client: str, old: Rule) -> Rule:
    rng = random.Random(f"new/{desk}/{client}/{operation}")
    kind = rng.random()
    if kind < 0.3:
        return Rule(tool=old.tool, first=0 if old.first else 1)
    new = [tool for tool in DESK_TOOLS[desk] if tool in NEW_TOOLS]
    other = [tool for tool in DESK_TOOLS[desk] if tool != old.tool and tool not in NEW_TOOLS]
    return Rule(tool=rng.choice(new if kind < 0.5 else other), first=rng.choice((0, 1)))
