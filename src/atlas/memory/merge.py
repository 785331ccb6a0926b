"""Playbooks change by itemised deltas only: an entry is added, joined with its twin, or moved to another state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atlas.memory.recall import newest_session
from atlas.memory.text import folded
from atlas.schema import Audience, Cue, Entry, Evidence, Playbook, content_hash, now

_MAX_SESSIONS = 20
"""Sessions an entry's provenance names: the newest ones."""


def entry_id(audience: Audience, cue: Cue, action: str) -> str:
    """The same lesson has the same id, whoever writes it, whenever."""
    when = (cue.when.model_dump_json(),) if cue.when is not None else ()
    return content_hash(audience, cue.kind, folded(cue.text), folded(action).rstrip(" .!"), *when)[:16]


def merged(entries: Sequence[Entry], new: Iterable[Entry], max_entries: int) -> tuple[Entry, ...]:
    """The entries with the new ones; a twin is joined, another action for the same cue stands beside the old one.

    Which of two such rivals a session sees is decided when it recalls, by their records. Beyond `max_entries` the
    oldest retired entries go, then the oldest candidates; then new ones are refused. Nothing else is ever dropped.
    """
    known = {entry.id for entry in entries}
    kept = {entry.id: entry for entry in entries}
    for entry in new:
        kept[entry.id] = _joined(kept[entry.id], entry) if entry.id in kept else entry
    by_age = sorted(kept.values(), key=lambda one: (newest_session(one), one.id))
    spare = [entry.id for state in ("retired", "candidate") for entry in by_age if entry.state == state]
    spare += [name for name in kept if name not in known and name not in spare]
    for name in spare[: max(0, len(kept) - max_entries)]:
        del kept[name]
    return tuple(kept.values())


def _joined(old: Entry, new: Entry) -> Entry:
    """The old entry, learnt once more. Only a verified lesson lifts it, and never out of quarantine."""
    sessions = sorted({*old.provenance.sessions, *new.provenance.sessions})[-_MAX_SESSIONS:]
    source = old.provenance.model_copy(update={"sessions": tuple(sessions)})
    if new.state == "trial" and old.state in ("candidate", "retired"):
        proof = {"reward_source": new.provenance.reward_source, "verdicts": new.provenance.verdicts}
        lifted = {"state": "trial", "reason": new.reason, "trust": new.trust, "evidence": Evidence()}
        return old.model_copy(update={"provenance": source.model_copy(update=proof), **lifted})
    return old.model_copy(update={"provenance": source})


def next_version(playbook: Playbook, entries: tuple[Entry, ...], origin: str = "") -> Playbook:
    """The playbook's next version, with these entries; what was measured about all of them together lives on only
    while the same ones act."""
    made = playbook.model_copy(
        update={"version": playbook.version + 1, "entries": entries, "created_at": now(), "origin": origin}
    )
    if acting_ids(made) == acting_ids(playbook):
        return made
    return made.model_copy(update={"since": made.version, "evidence": Evidence()})


def acting_ids(playbook: Playbook) -> frozenset[str]:
    """The entries that may reach a prompt, by id."""
    return frozenset(entry.id for entry in playbook.acting)


def rolled_back(history: Sequence[Playbook], version: int, why: str = "") -> Playbook:
    """A new newest version with the entries of an old one, byte for byte. `history` is of one playbook, in any order.

    Raises:
        ValueError: the history does not hold that version.
    """
    old = next((playbook for playbook in history if playbook.version == version), None)
    if old is None:
        raise ValueError(f"version {version} is not in the history")
    newest = max(history, key=lambda playbook: playbook.version)
    return next_version(newest, old.entries, f"rollback to version {version}" + (f": {why}" if why else ""))


def lost(old: Playbook, new: Playbook) -> tuple[str, ...]:
    """The active entries that a rewrite would take out of the prompts, by id."""
    staying = acting_ids(new)
    return tuple(entry.id for entry in old.entries if entry.state == "active" and entry.id not in staying)


def loses_too_much(old: Playbook, new: Playbook) -> bool:
    """Whether a rewrite drops more than a fifth of the active entries, which only a person may decide."""
    active = sum(entry.state == "active" for entry in old.entries)
    return len(lost(old, new)) * 5 > active
