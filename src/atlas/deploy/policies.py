"""The life of a policy: canary -> active -> retired, or rolled back. Nothing serves without evidence or a note.

The evidence is a playbook entry's: the same tasks with it and without it, an e-process that may be looked at after
every pair, the same bars (`atlas.memory.MemoryRules`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from atlas.config import AtlasConfig
from atlas.deploy.seats import keep, point
from atlas.evidence import e_value, observe_pair
from atlas.memory import MemoryRules
from atlas.schema import Evidence, Lane, Noun, Policy, PolicyRole, Task, new_id, now
from atlas.schema.errors import ConfigError
from atlas.store.ledger import Ledger
from atlas.train.evaluation import Comparison, Played, compare, play_tasks, seated

Verdict = Literal["helps", "harms", "undecided"]
BATCH = 10
"""Tasks that are played between two looks at the evidence."""


class Trial(NamedTuple):
    """What a canary is tried on."""

    config: AtlasConfig
    """The loop, as it serves now."""
    folder: Path
    """The project's folder."""
    tasks: Sequence[Task]
    """Questions; none of them was trained on."""
    lane: Lane | None = None
    """The lane; None lets the loop choose."""


class Tried(Noun):
    """What came out of a trial."""

    policy: Policy
    """With its evidence and its state."""
    verdict: Verdict
    """What the evidence says."""
    comparison: Comparison | None
    """The numbers; None before any task was played."""


def verdict_of(evidence: Evidence, rules: MemoryRules) -> Verdict:
    """What the evidence says, by the bars of a playbook entry."""
    if e_value(evidence.log_e_harm) >= rules.harm_e:
        return "harms"
    return "helps" if e_value(evidence.log_e_help) >= rules.promote_e else "undecided"


async def enter(ledger: Ledger, state: Path, checkpoint: Path, *, role: PolicyRole, source: str) -> Policy:
    """Take a checkpoint in as a canary; the same one twice is one policy.

    Raises:
        StoreError: the database or the disk failed.
        TrainError: the folder holds no checkpoint.
    """
    sha256 = keep(state, checkpoint)
    known = await ledger.policies(role)
    for policy in known:
        if policy.sha256 == sha256:
            return policy
    active = next((policy.id for policy in known if policy.state == "active"), None)
    run = await ledger.run_of(sha256)
    policy = Policy(id=new_id(), role=role, sha256=sha256, source=source, run=run, previous=active, reason="entered")
    await ledger.put_policies([policy])
    return policy


async def try_out(
    ledger: Ledger,
    policy: Policy,
    trial: Trial,
    *,
    rules: MemoryRules,
    on_pair: Callable[[int], None] = lambda done: None,
) -> Tried:
    """Play tasks with the policy and without it until the evidence decides or the tasks are spent.

    One that harms is rolled back at once. One that helps waits for `promote`.

    Raises:
        ConfigError: the loop cannot be opened, or no task has a verdict.
        StoreError: the database failed.
    """
    new = seated(trial.config, policy.role, f".atlas/policies/{policy.sha256[:12]}")
    before: list[Played] = []
    after: list[Played] = []
    for start in range(0, len(trial.tasks), BATCH):
        some = trial.tasks[start : start + BATCH]
        before += await play_tasks(trial.config, trial.folder, some, lane=trial.lane)
        after += await play_tasks(new, trial.folder, some, lane=trial.lane)
        policy = _informed(policy, before[start:], after[start:])
        on_pair(len(before))
        if verdict_of(policy.evidence, rules) != "undecided":
            break
    said = verdict_of(policy.evidence, rules)
    policy = policy.model_copy(update={"reason": _reason(policy.evidence, said)})
    if said == "harms":
        policy = policy.model_copy(update={"state": "rolled_back", "changed_at": now()})
    await ledger.put_policies([policy])
    return Tried(policy=policy, verdict=said, comparison=compare(before, after) if before else None)


def _informed(policy: Policy, before: Sequence[Played], after: Sequence[Played]) -> Policy:
    evidence = policy.evidence
    for old, new in zip(before, after, strict=True):
        if old.value is None or new.value is None:  # An outage says nothing about either.
            continue
        evidence = observe_pair(evidence, shown=True, with_it=new.value, without_it=old.value)
    return policy.model_copy(update={"evidence": evidence})


async def promote(ledger: Ledger, state: Path, policy: Policy, *, rules: MemoryRules, note: str = "") -> Policy:
    """Let a policy serve; the one before it retires.

    Raises:
        ConfigError: its evidence does not say that it helps, and no person's note stands for it.
        StaleVersion: somebody else promoted another one.
        StoreError: the database or the disk failed.
    """
    said = verdict_of(policy.evidence, rules)
    if said != "helps" and not note:
        raise ConfigError(
            f"Policy {policy.id} may not serve: {_reason(policy.evidence, said)}.",
            "Try it on more tasks (`atlas deploy canary`), or promote it on your word with --note.",
        )
    if policy.state == "active":
        return policy
    serving = [one for one in await ledger.policies(policy.role) if one.state == "active"]
    retired = [_into(one, "retired", f"replaced by {policy.id}") for one in serving]
    active = _into(policy, "active", f"review: {note}" if note else _reason(policy.evidence, said))
    await ledger.put_policies([*retired, active])
    point(state, policy.role, policy.sha256)
    return active


async def roll_back(
    ledger: Ledger, state: Path, role: PolicyRole, *, base: Path | None, note: str = ""
) -> Policy | None:
    """Take the serving policy out; the one that served before it serves again, else the checkpoint `base`.

    Returns the policy that serves now; None where it is the base.

    Raises:
        ConfigError: no policy serves, or there is none before it and no base.
        StoreError: the database or the disk failed.
    """
    known = await ledger.policies(role)
    serving = next((one for one in known if one.state == "active"), None)
    if serving is None:
        raise ConfigError(f"No policy serves as {role}.", "See `atlas deploy status`.")
    out = _into(serving, "rolled_back", f"rolled back: {note}" if note else "rolled back")
    before = max((one for one in known if one.state == "retired"), key=lambda one: one.changed_at, default=None)
    if before is None:
        if base is None:
            raise ConfigError(f"No {role} served before this one.", "Name the checkpoint to serve with --base.")
        sha256 = keep(state, base)
        await ledger.put_policies([out])
        point(state, role, sha256)
        return None
    again = _into(before, "active", f"serves again after {serving.id} was rolled back")
    await ledger.put_policies([out, again])
    point(state, role, again.sha256)
    return again


def _into(policy: Policy, state: str, reason: str) -> Policy:
    return policy.model_copy(update={"state": state, "reason": reason, "changed_at": now()})


def _reason(evidence: Evidence, said: Verdict) -> str:
    gain = evidence.pair_gain / evidence.pairs if evidence.pairs else 0.0
    strength = evidence.log_e_harm if said == "harms" else evidence.log_e_help
    return f"{said}: e-value {e_value(strength):.3g}, {gain:+.3f} on {evidence.pairs} tasks done both ways"
