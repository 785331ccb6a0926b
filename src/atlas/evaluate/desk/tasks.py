"""Tasks of the desk: a stream of requests in which some operations are common and most are rare."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import cycle, zip_longest

from atlas.evaluate.desk.rules import (
    CLIENTS,
    DESKS,
    DeskName,
    legacy,
    nouns,
    operations,
    today,
)
from atlas.evaluate.desk.wording import Split, aside, link, opening, request
from atlas.evaluate.desk.world import Job, Ticket
from atlas.schema import Noun, Task

_BY_KEY: dict[str, tuple[DeskName, str]] = {f"{desk}/{client}": (desk, client) for desk in DESKS for client in CLIENTS}
ALL_KEYS = tuple(_BY_KEY)
"""Every learning key of the desk."""


class Wish(Noun):
    """One operation that a client wants done."""

    desk: DeskName
    """At which desk."""
    client: str
    """For whom."""
    operation: str
    """What."""

    @property
    def key(self) -> str:
        """The learning key of such tasks."""
        return f"{self.desk}/{self.client}"

    @property
    def changed(self) -> bool:
        """Whether today's rule differs from the one the student was trained with."""
        return today(self.desk, self.client, self.operation) != legacy(self.desk, self.operation)


class DeskTask(Noun):
    """A task with what its maker knows about it."""

    task: Task
    """What the loop gets: the prompt, the learning key, and the ticket as payload."""
    wishes: tuple[Wish, ...]
    """The operations in it; two in a multi-step ticket."""

    @property
    def changed(self) -> bool:
        """Whether any of its operations follows a new rule."""
        return any(wish.changed for wish in self.wishes)


RANKS = {"acme": "UCCUCUUC", "globex": "CUUCUUCU"}
"""Whether a client's operation, by frequency, is unchanged or changed; repeated until one kind is used up."""


@cache
def wishes_of(key: str) -> tuple[Wish, ...]:
    """The operations of one key, the most common first; changed and unchanged ones are about equally common."""
    desk, client = _BY_KEY[key]
    every = [Wish(desk=desk, client=client, operation=operation) for operation in operations(desk)]
    every.sort(
        key=lambda wish: random.Random(f"rank/{key}/{wish.operation}").random(),
        reverse=True,
    )
    waiting = {kind: [wish for wish in every if wish.changed == (kind == "C")] for kind in "UC"}
    ordered: list[Wish] = []
    for kind in cycle(RANKS[client]):
        if not waiting[kind]:
            break
        ordered.append(waiting[kind].pop())
    return (*ordered, *reversed(waiting["U"] + waiting["C"]))


@cache
def wishes(keys: tuple[str, ...] = ALL_KEYS) -> tuple[Wish, ...]:
    """The operations of some keys, the most common of each key before the second of any."""
    by_rank = zip_longest(*map(wishes_of, keys))
    return tuple(wish for rank in by_rank for wish in rank if wish is not None)


def held_out(number: str) -> bool:
    """Whether an object's id is kept for evaluation: one in ten is, and training never sees it."""
    return zlib.crc32(number.encode()) % 10 == 0


@cache
def object_ids(split: Split) -> tuple[str, ...]:
    """The three-digit ids of a split."""
    return tuple(str(n) for n in range(100, 1000) if held_out(str(n)) == (split == "held_out"))


def zipf_weights(n: int, exponent: float) -> list[float]:
    """Weights of ranks 1 to n, proportional to rank ** -exponent."""
    return [rank**-exponent for rank in range(1, n + 1)]


class Desk:
    """Makes tasks. The same seed makes the same tasks, on every machine."""

    def __init__(
        self,
        *,
        split: Split = "held_out",
        exponent: float = 0.9,
        aside_share: float = 0.4,
    ) -> None:
        """`exponent` says how unequal the operations' frequencies are; `aside_share` how often distractors are."""
        self._split: Split = split
        self._exponent = exponent
        self._aside_share = aside_share

    def tasks(
        self,
        seed: int,
        n: int,
        *,
        ticket_share: float = 0.0,
        keys: Sequence[str] | None = None,
    ) -> list[DeskTask]:
        """A stream of n tasks, of which about `ticket_share` have two operations, from all keys or from some."""
        rng = random.Random(f"stream/{seed}")
        pool = wishes(ALL_KEYS if keys is None else tuple(keys))
        weights = zipf_weights(len(pool), self._exponent)
        made: list[DeskTask] = []
        for wish in rng.choices(pool, weights, k=n):
            made.append(self.ticket(wish, rng) if rng.random() < ticket_share else self.single(wish, rng))
        return made

    def single(self, wish: Wish, rng: random.Random) -> DeskTask:
        """A task with one operation."""
        first, second = rng.sample(object_ids(self._split), 2)
        ids = (first, second)
        named = [f"{kind} {name}" for kind, name in zip(nouns(wish.desk, wish.operation), ids, strict=True)]
        rng.shuffle(named)
        words = request(wish.operation, named, self._split, rng)
        return self._finish((wish,), (Job(operation=wish.operation, objects=ids),), words, rng)

    def ticket(self, wish: Wish, rng: random.Random) -> DeskTask:
        """A task with two operations; in half of them the second works on what the first returns."""
        others = [op for op in operations(wish.desk) if op != wish.operation]
        second = Wish(desk=wish.desk, client=wish.client, operation=rng.choice(others))
        one, two, three, four = rng.sample(object_ids(self._split), 4)
        first_ids, second_ids = (one, two), [three, four]
        if rng.random() < 0.5:
            second_ids[rng.randrange(2)] = "#1"
        parts: list[str] = []
        for each, ids in ((wish, first_ids), (second, second_ids)):
            kinds = nouns(each.desk, each.operation)
            named = [named_object(kind, name) for kind, name in zip(kinds, ids, strict=True)]
            rng.shuffle(named)
            parts.append(request(each.operation, named, self._split, rng))
        words = link(self._split, rng).join(parts)
        jobs = (
            Job(operation=wish.operation, objects=first_ids),
            Job(operation=second.operation, objects=(second_ids[0], second_ids[1])),
        )
        return self._finish((wish, second), jobs, words, rng)

    def _finish(
        self,
        wanted: tuple[Wish, ...],
        jobs: tuple[Job, ...],
        words: str,
        rng: random.Random,
    ) -> DeskTask:
        first = wanted[0]
        parts = [opening(first.desk, first.client, self._split, rng), words]
        if rng.random() < self._aside_share:
            parts.insert(rng.choice((1, 2)), aside(self._split, rng))
        ticket = Ticket(desk=first.desk, client=first.client, jobs=jobs)
        task = Task(
            prompt=" ".join(parts),
            payload={"ticket": ticket.model_dump(mode="json")},
            learning_key=first.key,
        )
        return DeskTask(task=task, wishes=wanted)


def named_object(kind: str, name: str) -> str:
    """An operand as the text names it; the result of the first operation is `the new <kind>`."""
    return f"the new {kind}" if name.startswith("#") else f"{kind} {name}"
