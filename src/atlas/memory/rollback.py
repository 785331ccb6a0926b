"""All lessons of a playbook together: do they harm, and what is withdrawn when they do."""

from __future__ import annotations

import math

from atlas.evidence import count, e_value, observe
from atlas.memory.merge import acting_ids
from atlas.memory.rules import MemoryRules
from atlas.schema import Entry, Evidence, Playbook, Recalled


def together(evidence: Evidence, recalled: Recalled, reward: float) -> Evidence:
    """The evidence about all lessons together after one more session.

    A session speaks when chance showed it every matching lesson, or none of them; given that it was one of the two, the
    probability of the first is known. Where chance had no say it is counted without a bet.
    """
    odds = [chance for _, chance in recalled.propensities]
    everything, nothing = math.prod(odds), math.prod(1 - chance for chance in odds)
    shown = not recalled.held_out
    if not odds or (recalled.shown and recalled.held_out):
        return evidence
    if nothing == 0:
        return count(evidence, shown=shown, reward=reward)
    return observe(evidence, shown=shown, reward=reward, propensity=everything / (everything + nothing))


def harm(playbook: Playbook, rules: MemoryRules) -> str | None:
    """Why the lessons of this version must be withdrawn together; None while they need not be."""
    seen = playbook.evidence
    if not playbook.acting or e_value(seen.log_e_harm) < rules.harm_e:
        return None
    counts = f"{seen.n_with} sessions with all matching lessons and {seen.n_without} with none"
    return f"together they harm: e-value {e_value(seen.log_e_harm):.3g} after {counts} since version {playbook.since}"


def withdrawn(playbook: Playbook, before: Playbook, why: str) -> Playbook:
    """A version that is about to be written, so that only those lessons still act that acted in `before` too.

    Where that would withdraw nothing, those in trial go; where there are none, all go. They are quarantined: no twin
    brings them back, a person may.
    """
    newer = acting_ids(playbook) - acting_ids(before)
    tried = {entry.id for entry in playbook.entries if entry.state == "trial"}
    gone = newer or tried or acting_ids(playbook)

    def moved(entry: Entry) -> Entry:
        if entry.id not in gone:
            return entry
        return entry.model_copy(update={"state": "quarantined", "reason": f"rolled back: {why}"})

    return playbook.model_copy(
        update={
            "entries": tuple(map(moved, playbook.entries)),
            "origin": f"rollback to the lessons of version {before.version}: {why}",
            "since": playbook.version,
            "evidence": Evidence(),
        }
    )
