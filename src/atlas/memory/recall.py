"""What of a playbook a session sees: few entries that match, chance withholding some so that their effect is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.evidence import holdout, in_doubt
from atlas.memory.predicate import holds
from atlas.memory.rules import MemoryRules
from atlas.memory.text import folded, occurs
from atlas.models.text import estimate_tokens
from atlas.schema import Cue, Entry, Playbook, Recalled, Task, content_hash

_SEARCHED = 200_000
"""Characters of a task in which cues are looked for."""


def recall(task: Task, playbook: Playbook, session_id: str, rules: MemoryRules) -> Recalled:
    """The best matching entries within number and token budget, each shown with its probability.

    Chance comes after the choice and from a hash of session and entry, so that a resumed session sees the same.
    """
    chosen = _chosen(task, playbook, rules)
    odds = {entry.id: 1 - _holdout(entry, rules) for entry in chosen}
    shown = tuple(entry for entry in chosen if _draw(session_id, entry.id) < odds[entry.id])
    return Recalled(
        audience=playbook.audience,
        version=playbook.version if _mine(task, playbook) else 0,
        shown=shown,
        held_out=tuple(entry.id for entry in chosen if entry not in shown),
        propensities=tuple(odds.items()),
        compared=_most_doubted(chosen) if rules.compares else None,
    )


def preview(task: Task, playbook: Playbook, rules: MemoryRules) -> Recalled:
    """What `recall` would show if chance withheld nothing."""
    shown = tuple(_chosen(task, playbook, rules))
    return Recalled(audience=playbook.audience, version=playbook.version, shown=shown)


def _mine(task: Task, playbook: Playbook) -> bool:
    return (playbook.tenant, playbook.key) == (task.tenant, task.learning_key)


def _chosen(task: Task, playbook: Playbook, rules: MemoryRules) -> list[Entry]:
    """The best matching entries within number and token budget; none of another tenant or key."""
    if not _mine(task, playbook):
        return []
    prompt = folded(task.prompt[:_SEARCHED])
    mine = [entry for entry in playbook.acting if entry.audience == playbook.audience]
    matching = [entry for entry in mine if matches(entry.cue, prompt, task.payload)]
    return _fitting(ranked(one_per_cue(matching)), rules)


def matches(cue: Cue, folded_prompt: str, payload: Mapping[str, Any] | None = None) -> bool:
    """Whether an entry applies to a task whose prompt was folded."""
    if cue.when is not None:
        return holds(cue.when, folded_prompt, payload or {})
    return cue.kind == "always" or occurs(folded(cue.text), folded_prompt)


def matches_task(cue: Cue, task: Task) -> bool:
    """Whether an entry applies to a task."""
    return matches(cue, folded(task.prompt[:_SEARCHED]), task.payload)


def _most_doubted(chosen: Sequence[Entry]) -> str | None:
    """Of the entries whose harm is not ruled out the one that is suspected most; by earlier sessions alone."""
    doubted = [entry for entry in chosen if in_doubt(entry.evidence)]
    return max(doubted, key=lambda one: (one.evidence.log_e_harm, one.id)).id if doubted else None


def one_per_cue(entries: Sequence[Entry]) -> list[Entry]:
    """Of entries with the same cue the one with the better record; of equal ones the newest."""
    best: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda one: (standing(one), newest_session(one), one.id)):
        best[cue_key(entry.cue)] = entry
    return list(best.values())


def cue_key(cue: Cue) -> str:
    """What two cues for the same tasks have in common."""
    return cue.when.model_dump_json() if cue.when is not None else f"{cue.kind} {folded(cue.text)}"


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """By trust, then record, then the longer cue, which says more."""
    return sorted(entries, key=lambda one: (-one.trust, -standing(one), -len(one.cue.text), one.id))


def standing(entry: Entry) -> float:
    """Mean reward of the sessions that saw the entry, its trust counting as one of them."""
    return (entry.evidence.successes_with + entry.trust) / (entry.evidence.n_with + 1)


def newest_session(entry: Entry) -> str:
    """The last session it was learnt from; ids sort by time."""
    return max(entry.provenance.sessions, default="")


def _fitting(entries: Sequence[Entry], rules: MemoryRules) -> list[Entry]:
    chosen: list[Entry] = []
    left = rules.max_tokens
    for entry in entries:
        if len(chosen) < rules.max_shown and cost(entry) <= left:
            chosen.append(entry)
            left -= cost(entry)
    return chosen


def cost(entry: Entry) -> int:
    """Tokens of an entry in a prompt, by estimate."""
    return estimate_tokens(f"- {entry.cue.text}: {entry.action}\n")


def _holdout(entry: Entry, rules: MemoryRules) -> float:
    share = rules.holdout_trial if entry.state == "trial" else rules.holdout_active
    return holdout(entry.evidence, share)


def _draw(session_id: str, entry_id: str) -> float:
    """A number in [0, 1) that nobody chose."""
    return int(content_hash("holdout", session_id, entry_id)[:13], 16) / 16**13
