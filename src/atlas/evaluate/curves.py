"""What the record says about learning: curves, recent against earlier sessions, transfer. Counted, never modelled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from atlas.evidence import SUCCESS, Interval, bootstrap_mean, rate_difference, wilson
from atlas.schema import Entry, Noun
from atlas.store import LedgerRow

BINS = 12
"""Points of a curve at most."""
LEAST_IN_BIN = 5
"""Sessions behind a point at least."""


class CurvePoint(Noun):
    """Some neighbouring sessions of a curve."""

    until: int
    """Sessions up to and with the last of them."""
    success: Interval
    """Share of judged ones whose reward is at least 0.5, with its 95 % interval."""
    tokens: float
    """Mean tokens of all roles."""
    cost_usd: float | None
    """Mean cost; None where a price is unknown."""


class Window(Noun):
    """A run of sessions."""

    sessions: int
    """How many."""
    success: Interval
    """Share of judged ones whose reward is at least 0.5."""
    tokens: Interval
    """Mean tokens of all roles, with a bootstrap interval."""
    cost_usd: float | None
    """Mean cost; None where a price is unknown."""


class Group(Noun):
    """The sessions of one key, one lane and one set of models."""

    learning_key: str
    """The key."""
    lane: str
    """The lane; `all` for every one."""
    policy: str
    """The models that served; `all` for every set."""
    recent: Window
    """The newest sessions."""
    baseline: Window
    """Those before them; no session is in both."""
    success_gain: Interval
    """Success of the recent ones less that of the baseline."""
    tokens_ratio: float | None
    """Mean tokens, recent to baseline; None without a baseline."""
    curve: tuple[CurvePoint, ...]
    """Both, in order."""


class Transfer(Noun):
    """What lessons from one place did in another."""

    learnt_at: str
    """Where they were learnt: a key, or the models of that session."""
    used_at: str
    """Where they were used."""
    shown: int
    """Sessions that saw one of them, counted for each."""
    withheld: int
    """Sessions from which chance withheld one."""
    lift: Interval
    """Success where shown less success where withheld."""


class LearningReport(Noun):
    """What a tenant's sessions say about learning."""

    tenant: str
    """Whose."""
    sessions: int
    """The caller's sessions that were read; replays are left out."""
    groups: tuple[Group, ...]
    """By key, then by key, lane and models where a key has several."""
    between_keys: tuple[Transfer, ...]
    """Lessons by the key they come from and the key they are used at."""
    between_models: tuple[Transfer, ...]
    """Lessons by the models that served when they were learnt and when they are used."""


def learning_report(
    rows: Sequence[LedgerRow], entries: Iterable[Entry], *, tenant: str, recent: int, key: str | None = None
) -> LearningReport:
    """The report of a tenant's sessions, oldest first; `entries` are its lessons, `recent` the size of the new window.

    With `key` the groups are of that key only; transfer is always told for all.
    """
    served = [row for row in rows if row.replay_of is None]
    mine = [row for row in served if key in (None, row.learning_key)]
    origins = _origins(served, entries)
    return LearningReport(
        tenant=tenant,
        sessions=len(mine),
        groups=tuple(_groups(mine, recent)),
        between_keys=_transfers(served, {name: row.learning_key for name, row in origins.items()}, "learning_key"),
        between_models=_transfers(served, {name: row.policy for name, row in origins.items()}, "policy"),
    )


def _groups(rows: Sequence[LedgerRow], recent: int) -> Iterable[Group]:
    by_key: dict[str, list[LedgerRow]] = defaultdict(list)
    by_all: dict[tuple[str, str, str], list[LedgerRow]] = defaultdict(list)
    for row in rows:
        by_key[row.learning_key].append(row)
        by_all[row.learning_key, row.lane or "none", row.policy].append(row)
    for key, group in sorted(by_key.items()):
        yield _group((key, "all", "all"), group, recent)
        parts = sorted((names, part) for names, part in by_all.items() if names[0] == key)
        if len(parts) > 1:
            yield from (_group(names, part, recent) for names, part in parts)


def _group(names: tuple[str, str, str], rows: Sequence[LedgerRow], recent: int) -> Group:
    new, old = rows[-recent:], rows[:-recent]
    newer, older = _window(new), _window(old)
    return Group(
        learning_key=names[0],
        lane=names[1],
        policy=names[2],
        recent=newer,
        baseline=older,
        success_gain=rate_difference(_successes(new), _successes(old)),
        tokens_ratio=newer.tokens.mean / older.tokens.mean if old and older.tokens.mean else None,
        curve=tuple(_curve(rows)),
    )


def _window(rows: Sequence[LedgerRow]) -> Window:
    tokens = [float(row.tokens) for row in rows]
    return Window(
        sessions=len(rows),
        success=wilson(*_successes(rows)),
        tokens=bootstrap_mean(tokens) if tokens else Interval(mean=0.0, low=0.0, high=0.0, n=0),
        cost_usd=_cost(rows),
    )


def _curve(rows: Sequence[LedgerRow]) -> Iterable[CurvePoint]:
    size = max(LEAST_IN_BIN, -(-len(rows) // BINS))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield CurvePoint(
            until=start + len(part),
            success=wilson(*_successes(part)),
            tokens=fmean(row.tokens for row in part),
            cost_usd=_cost(part),
        )


def _successes(rows: Iterable[LedgerRow]) -> tuple[int, int]:
    """Successes and judged sessions."""
    judged = [row.reward >= SUCCESS for row in rows if row.reward is not None]
    return sum(judged), len(judged)


def _cost(rows: Sequence[LedgerRow]) -> float | None:
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return fmean(costs) if costs and len(costs) == len(rows) else None


def _origins(rows: Iterable[LedgerRow], entries: Iterable[Entry]) -> dict[str, LedgerRow]:
    """The first session that each lesson was learnt from, by the lesson's id."""
    known = {row.id: row for row in rows}
    found: dict[str, LedgerRow] = {}
    for entry in entries:
        first = next((known[name] for name in sorted(entry.provenance.sessions) if name in known), None)
        if first is not None:
            found[entry.id] = first
    return found


def _transfers(rows: Iterable[LedgerRow], origins: Mapping[str, str], used: str) -> tuple[Transfer, ...]:
    shown: dict[tuple[str, str], list[bool]] = defaultdict(list)
    withheld: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        if row.first_try is None:
            continue
        here = str(getattr(row, used))
        for entry in row.student.shown:
            if entry.id in origins:
                shown[origins[entry.id], here].append(row.first_try)
        for name in row.student.held_out:
            if name in origins:
                withheld[origins[name], here].append(row.first_try)
    return tuple(
        Transfer(
            learnt_at=at[0],
            used_at=at[1],
            shown=len(shown[at]),
            withheld=len(withheld[at]),
            lift=rate_difference(
                (sum(shown[at]), len(shown[at])),
                (sum(withheld[at]), len(withheld[at])),
            ),
        )
        for at in sorted({*shown, *withheld})
    )
