"""The evidence tables: errors under continuous peeking, power, time to rollback, many entries, the guarantee.

    python benchmarks/evidence.py [--quick]

Simulated sessions, the real statistics: every number comes from the functions that judge a playbook's entries. Each
task has one difficulty, so that the same task done twice is alike; a share of `NOISE` of the tasks is decided by chance
anew.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from atlas.evidence import (
    Gap,
    e_bh,
    holdout,
    in_doubt,
    not_worse,
    observe,
    observe_pair,
    wilson,
)
from atlas.schema import Evidence, Noun

ALARM = math.log(20)
NOISE = 0.3
START = datetime(2026, 1, 1, tzinfo=UTC)


class Design(Noun):
    """How an entry is measured."""

    name: str
    """As the tables call it."""
    share: float = 0.2
    """Sessions it is withheld from."""
    adapts: bool = True
    """Whether the share rises while harm is suspected."""
    pairs: str = "doubted"
    """When a task is done both ways: never, doubted, always."""


FIXED_20 = Design(name="holdout 0.2", adapts=False, pairs="never")
FIXED_50 = Design(name="holdout 0.5", share=0.5, adapts=False, pairs="never")
ADAPTIVE = Design(name="holdout 0.2, 0.5 while suspected", pairs="never")
DEFAULT = Design(name="the same, and both ways while in doubt (default)")
REPLAY = Design(name="replay: every task both ways", pairs="always")
DESIGNS = (FIXED_20, FIXED_50, ADAPTIVE, DEFAULT, REPLAY)


class Life(Noun):
    """What became of one simulated entry."""

    helpful_at: int | None
    """The session at which it was called helpful; None: never."""
    harmful_at: int | None
    """The session at which it was called harmful; None: never."""
    log_e_help: float
    """Its evidence at the end."""
    pairs: int
    """Tasks done both ways."""


def outcomes(rng: np.random.Generator, with_rate: float, without_rate: float) -> tuple[float, float]:
    """Reward of one task with and without the entry."""
    one = rng.random()
    other = rng.random() if rng.random() < NOISE else one
    return float(one < with_rate), float(other < without_rate)


def live(rng: np.random.Generator, rates: tuple[float, float], design: Design, sessions: int, *, stops: bool) -> Life:
    """One entry through its matching sessions, looked at after every one; `stops` ends it at its first verdict."""
    seen, helpful, harmful, pairs = Evidence(), None, None, 0
    for number in range(1, sessions + 1):
        with_it, without_it = outcomes(rng, *rates)
        share = holdout(seen, design.share) if design.adapts else design.share
        shown = bool(rng.random() < 1 - share)
        if design.pairs == "always" or (design.pairs == "doubted" and in_doubt(seen)):
            pairs += 1
            seen = observe_pair(seen, shown=shown, with_it=with_it, without_it=without_it)
        else:
            seen = observe(seen, shown=shown, reward=with_it if shown else without_it, propensity=1 - share)
        helpful = helpful or (number if seen.log_e_help >= ALARM else None)
        harmful = harmful or (number if seen.log_e_harm >= ALARM else None)
        if stops and (helpful or harmful):
            break
    return Life(helpful_at=helpful, harmful_at=harmful, log_e_help=seen.log_e_help, pairs=pairs)


def lives(seed: int, rates: tuple[float, float], design: Design, sizes: tuple[int, int], *, stops: bool) -> list[Life]:
    """`sizes`: so many lives, of so many sessions at most."""
    rng = np.random.default_rng(seed)
    return [live(rng, rates, design, sizes[1], stops=stops) for _ in range(sizes[0])]


def rate(hits: int, n: int) -> str:
    """A share with its 95 % interval."""
    found = wilson(hits, n)
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def until(found: Sequence[int | None], quantile: float) -> str:
    """A quantile of the sessions until a verdict; lives without one count as endless."""
    value = float(np.quantile([math.inf if at is None else at for at in found], quantile, method="higher"))
    return "-" if math.isinf(value) else f"{value:.0f}"


def nulls(n: int, sessions: int) -> Iterator[tuple[str, ...]]:
    """Entries without any effect."""
    for design in DESIGNS:
        helped = harmed = 0
        for at, base in enumerate((0.3, 0.5, 0.7, 0.9)):
            found = lives(100 + at, (base, base), design, (n // 4, sessions), stops=False)
            helped += sum(one.helpful_at is not None for one in found)
            harmed += sum(one.harmful_at is not None for one in found)
        yield design.name, str(sessions), rate(helped, n), rate(harmed, n)


def power(n: int, sessions: int) -> Iterator[tuple[str, ...]]:
    """Helpful entries: sessions until they are called so."""
    for gain in (0.05, 0.1, 0.2, 0.3):
        for design in DESIGNS:
            found = lives(200, (0.6 + gain, 0.6), design, (n, sessions), stops=True)
            at = [one.helpful_at for one in found]
            caught = sum(one is not None for one in at)
            mean_pairs = f"{np.mean([one.pairs for one in found]):.0f}"
            yield f"+{gain:.2f}", design.name, until(at, 0.5), until(at, 0.9), rate(caught, n), mean_pairs


def rollback(n: int, sessions: int) -> Iterator[tuple[str, ...]]:
    """Harmful entries: sessions until they are out of the prompts."""
    for base in (0.95, 0.8, 0.6):
        for design in DESIGNS:
            found = lives(300, (base - 0.2, base), design, (n, sessions), stops=True)
            at = [one.harmful_at for one in found]
            soon = sum(one is not None and one <= 60 for one in at)
            mean_pairs = f"{np.mean([one.pairs for one in found]):.0f}"
            yield (
                f"{base:.2f} -> {base - 0.2:.2f}",
                design.name,
                until(at, 0.5),
                until(at, 0.9),
                rate(soon, n),
                mean_pairs,
            )


def many(n: int, sessions: int) -> Iterator[tuple[str, ...]]:
    """A hundred entries, twenty of them helpful by 0.2."""
    shares: dict[str, list[tuple[float, float]]] = {"e-BH at 0.05": [], "each at an e-value of 20": []}
    for run in range(n):
        good = lives(400 + run, (0.8, 0.6), DEFAULT, (20, sessions), stops=False)
        idle = lives(9000 + run, (0.6, 0.6), DEFAULT, (80, sessions), stops=False)
        logs = [one.log_e_help for one in (*good, *idle)]
        for name, found in (
            ("e-BH at 0.05", e_bh(logs)),
            ("each at an e-value of 20", tuple(at for at, log in enumerate(logs) if log >= ALARM)),
        ):
            false = sum(at >= 20 for at in found)
            shares[name].append((false / max(1, len(found)), (len(found) - false) / 20))
    for name, pairs in shares.items():
        false, power_ = np.mean(pairs, axis=0)
        yield name, f"{n} x 100 entries, {sessions} sessions each", f"{false:.3f}", f"{power_:.3f}"


def guarantees(n: int, tasks: int) -> Iterator[tuple[str, ...]]:
    """The statement 'not worse than the baseline by more than 0.05', from tasks done both ways."""
    for gain in (-0.05, 0.0, 0.05, 0.1):
        rng = np.random.default_rng(500)
        at: list[int | None] = []
        for _ in range(n):
            gaps = []
            for number in range(tasks):
                with_it, without_it = outcomes(rng, 0.7 + gain, 0.7)
                gaps.append(Gap(value=with_it - without_it, at=START + timedelta(minutes=number)))
            since = not_worse(gaps, delta=0.05).since
            at.append(None if since is None else int((since - START).total_seconds() // 60) + 1)
        held = sum(one is not None for one in at)
        yield f"{gain:+.2f}", until(at, 0.5), until(at, 0.9), rate(held, n)


Table = tuple[str, tuple[str, ...], Callable[[], Iterator[tuple[str, ...]]]]


def tables(quick: bool) -> Sequence[Table]:
    """Title, head and rows of each table."""
    few = 10 if quick else 1
    horizon = 300 if quick else 1000
    seen = ("design", "median sessions", "90 %")
    return (
        (
            "Entries without effect, looked at after every session (bar: at most 0.05 called helpful)",
            ("design", "sessions each", "ever called helpful", "ever called harmful"),
            lambda: nulls(1000 // few, horizon),
        ),
        (
            "Helpful entries (0.6 without them): sessions until they are called helpful",
            ("lift", *seen, f"found within {horizon}", "done both ways, mean"),
            lambda: power(200 // few, horizon),
        ),
        (
            "Harmful entries at -0.20: sessions until they are quarantined (bar: median at most 60)",
            ("success", *seen, "found within 60", "done both ways, mean"),
            lambda: rollback(400 // few, horizon),
        ),
        (
            "A hundred entries, twenty of them helpful by 0.2",
            ("rule", "size", "false among the found", "found of the helpful"),
            lambda: many(40 // few, 200),
        ),
        (
            "'Not worse than the baseline by more than 0.05', from tasks done both ways (first row: must not hold)",
            ("true gain", "median tasks", "90 %", "stated"),
            lambda: guarantees(400 // few, 600),
        ),
    )


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the lives, shorter ones")
    quick = parser.parse_args().quick
    for title, head, rows in tables(quick):
        started = time.process_time()
        print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for row in rows():
            print(f"| {' | '.join(row)} |", flush=True)
        print(f"{time.process_time() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
