"""A playbook as a person reads it: each lesson's effect with its interval, and what one version changed in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from atlas.evidence import Interval, e_value, rate_difference, wilson
from atlas.evidence.eprocess import lift
from atlas.memory.recall import cost
from atlas.schema import Entry, Evidence, Noun, Playbook, content_hash
from atlas.store.shelf import Move
from atlas.viewer.seeing import Piece, compared

ORDER = ("active", "trial", "candidate", "retired", "quarantined")


class Effect(Noun):
    """What has been measured about a lesson."""

    with_it: Interval | None
    """Mean outcome of the sessions that saw it; None without one."""
    without_it: Interval | None
    """Mean outcome of the sessions it was withheld from by chance; None without one."""
    difference: Interval | None
    """With it less without it; None where either is missing."""
    pairs: int
    """Tasks that were done both ways."""
    pair_gain: float | None
    """Mean gain over these tasks; None without one."""
    lift: float | None
    """The estimated effect on the reward; None while too little is known."""
    e_help: float
    """E-value against 'it does not help'."""
    e_harm: float
    """E-value against 'it does no harm'."""


class ReadEntry(Noun):
    """A lesson with what is known about it."""

    entry: Entry
    """The lesson."""
    effect: Effect
    """What has been measured."""
    rent: int
    """Tokens that it adds to a prompt, by estimate."""
    since: int | None
    """The version that brought it, where the history reaches back so far."""
    moved: Move | None
    """Its last change of state."""
    seen: str
    """What a decision about it is bound to: a hash of what it says."""


class EntryChange(Noun):
    """What became of one lesson between two versions."""

    kind: Literal["new", "gone", "changed", "measured"]
    """measured: it says the same in the same state, with more evidence."""
    entry: Entry
    """The lesson in the newer version; in the older one where it is gone."""
    before: Entry | None
    """The lesson in the older version."""
    words: tuple[Piece, ...] | None
    """What changed in its words; None where they are the same."""


def read_entries(book: Playbook, moves: Sequence[Move]) -> tuple[ReadEntry, ...]:
    """The lessons of a playbook, those that act first."""
    born: dict[str, int] = {}
    last: dict[str, Move] = {}
    for move in moves:  # newest first
        if move.version <= book.version:
            last.setdefault(move.entry, move)
            if move.before is None:
                born[move.entry] = move.version
    entries = sorted(book.entries, key=_rank)
    return tuple(read(entry, since=born.get(entry.id), moved=last.get(entry.id)) for entry in entries)


def _rank(entry: Entry) -> tuple[int, float, int, str]:
    return ORDER.index(entry.state), -entry.trust, -entry.evidence.n_with, entry.id


def read(entry: Entry, *, since: int | None = None, moved: Move | None = None) -> ReadEntry:
    """One lesson with what is known about it."""
    return ReadEntry(
        entry=entry, effect=effect_of(entry.evidence), rent=cost(entry), since=since, moved=moved, seen=said_hash(entry)
    )


def effect_of(seen: Evidence) -> Effect:
    """What the counts say. Outcomes in [0, 1] are read as rates; for graded ones the intervals are wide enough."""
    both = seen.n_with and seen.n_without
    shown, held = (seen.successes_with, seen.n_with), (seen.successes_without, seen.n_without)
    return Effect(
        with_it=_rate(*shown),
        without_it=_rate(*held),
        difference=rate_difference(shown, held) if both else None,
        pairs=seen.pairs,
        pair_gain=seen.pair_gain / seen.pairs if seen.pairs else None,
        lift=lift(seen),
        e_help=e_value(seen.log_e_help),
        e_harm=e_value(seen.log_e_harm),
    )


def _rate(total: float, n: int) -> Interval | None:
    return wilson(total, n) if n else None


def said_hash(entry: Entry) -> str:
    """A hash of what a lesson says and of the state it is in: another lesson under the same id has another."""
    return content_hash(entry.id, entry.audience, entry.cue.model_dump_json(), entry.action, entry.state)


def changes(older: Playbook, newer: Playbook) -> tuple[EntryChange, ...]:
    """What became of each lesson between two versions; those that are the same are left out."""
    before: Mapping[str, Entry] = {entry.id: entry for entry in older.entries}
    after: Mapping[str, Entry] = {entry.id: entry for entry in newer.entries}
    found: list[EntryChange] = []
    for entry in newer.entries:
        old = before.get(entry.id)
        if old is None:
            found.append(EntryChange(kind="new", entry=entry, before=None, words=None))
        elif (old.state, _words(old)) != (entry.state, _words(entry)):
            words = compared(_words(old), _words(entry)) if _words(old) != _words(entry) else None
            found.append(EntryChange(kind="changed", entry=entry, before=old, words=words))
        elif old.evidence != entry.evidence:
            found.append(EntryChange(kind="measured", entry=entry, before=old, words=None))
    gone = (entry for entry in older.entries if entry.id not in after)
    return (*found, *(EntryChange(kind="gone", entry=entry, before=entry, words=None) for entry in gone))


def _words(entry: Entry) -> str:
    return f"{entry.cue.text} → {entry.action}"
