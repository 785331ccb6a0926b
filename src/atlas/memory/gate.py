"""Nothing learnt acts without evidence or review: candidate -> (review) -> trial -> active -> retired | quarantined."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.evidence import SUCCESS, e_value, observe
from atlas.memory.curator import Lesson
from atlas.memory.merge import entry_id
from atlas.memory.rules import MemoryRules
from atlas.memory.text import folded
from atlas.schema import Attempt, Audience, Cue, Entry, Evidence, Provenance, Recalled, Session

_TRUST = {"check": 0.6, "arbiter": 0.5, "judges": 0.4, "none": 0.2}
"""Trust in a lesson by the evidence that rewarded its session."""
_TRUST_VERIFIED = 0.8


def proposed(lesson: Lesson, session: Session, author: str, rules: MemoryRules) -> Entry:
    """The lesson as an entry, in trial when its session verified it and the policy allows, else a candidate."""
    cue = Cue(text=lesson.cue)
    source = session.reward.source if session.reward else "none"
    verified = guidance_worked(session)
    enters = verified and rules.gate == "verified"
    why = "an executed check: guidance turned a failure into success" if verified else f"rewarded by {source}"
    return Entry(
        id=entry_id(lesson.audience, cue, lesson.action),
        audience=lesson.audience,
        cue=cue,
        action=lesson.action,
        expected_effect=lesson.expected_effect,
        provenance=Provenance(sessions=(session.id,), author=author, reward_source=source),
        trust=_TRUST_VERIFIED if verified else _TRUST[source],
        state="trial" if enters else "candidate",
        reason=why if enters else f"{why}; waits for review",
    )


def guidance_worked(session: Session) -> bool:
    """Whether an executed check says that a guided attempt succeeded where the unguided one before it had failed."""
    reward = session.reward
    if reward is None or reward.source != "check" or reward.value is None or reward.value < SUCCESS:
        return False
    guided = {attempt.step for attempt in session.attempts if attempt.guidance is not None}
    return any(
        attempt.guidance is None and attempt.step in guided and _failed(session, attempt)
        for attempt in session.attempts
    )


def _failed(session: Session, attempt: Attempt) -> bool:
    """By the check where it read this attempt, else by the teacher's word."""
    steps = session.reward.steps if session.reward else ()
    values = [one.value for one in steps if (one.step, one.attempt) == (attempt.step, attempt.number)]
    if values:
        return values[0] < SUCCESS
    return any(
        not review.accepted
        for review in session.reviews
        if review.target != "plan" and (review.step, review.attempt) == (attempt.step, attempt.number)
    )


def outcome(session: Session, audience: Audience) -> float | None:
    """What a session says about the entries of one reader, in [0, 1]; None when it was not rewarded.

    A teacher's entry is there to make the final answer right: the reward. A student's is there to make the first try
    right: its own reward where a check read it, 0 where the teacher rejected it, else the reward. Rescue by the
    teacher must neither hide a harmful entry nor make a useful one look useless.
    """
    value = session.reward.value if session.reward else None
    if session.reward is None or value is None or audience == "teacher":
        return value
    first = [one.value for one in session.reward.steps if one.attempt == 1]
    if first:
        return min(first)
    rejected = any(not one.accepted for one in session.reviews if one.attempt == 1 and one.target != "plan")
    return 0.0 if rejected else value


def observed(entries: Sequence[Entry], recalled: Recalled, reward: float, rules: MemoryRules) -> tuple[Entry, ...]:
    """The entries after one more session: those in trial or active that it matched have more evidence, and may move."""
    odds = dict(recalled.propensities)
    shown = {entry.id for entry in recalled.shown}
    return tuple(
        _moved(_informed(entry, entry.id in shown, reward, odds[entry.id]), rules)
        if entry.id in odds and entry.state in ("trial", "active")
        else entry
        for entry in entries
    )


def refuted(entries: Sequence[Entry], lessons: Sequence[Entry], recalled: Recalled) -> tuple[Entry, ...]:
    """The entries after a session that proved one of them wrong, which is then retired.

    The proof is in one session: the entry in trial was shown and the first try failed, and doing something else for the
    same cue turned the failure into success by an executed check (so the other lesson is verified). An active entry has
    evidence of its own and is left to it.
    """
    verified = {(one.cue.kind, folded(one.cue.text)): one.id for one in lessons if one.state == "trial"}
    shown = {entry.id for entry in recalled.shown}
    return tuple(
        _into(entry, "retired", f"refuted by an executed check: {verified[entry.cue.kind, folded(entry.cue.text)]}")
        if entry.id in shown
        and entry.state == "trial"
        and verified.get((entry.cue.kind, folded(entry.cue.text)), entry.id) != entry.id
        else entry
        for entry in entries
    )


def _informed(entry: Entry, shown: bool, reward: float, propensity: float) -> Entry:
    evidence = observe(entry.evidence, shown=shown, reward=reward, propensity=propensity)
    return entry.model_copy(update={"evidence": evidence})


def _moved(entry: Entry, rules: MemoryRules) -> Entry:
    """The entry in the state its evidence asks for."""
    seen = entry.evidence
    harm, help_ = e_value(seen.log_e_harm), e_value(seen.log_e_help)
    if harm >= rules.harm_e:
        return _into(entry, "quarantined", f"it harms: e-value {harm:.3g} after {_counts(seen)}")
    if streak_chance(seen) < rules.streak_chance:
        return _into(entry, "retired", f"the last {seen.failures_in_row} sessions that saw it failed")
    if entry.state == "trial" and help_ >= rules.promote_e:
        return _into(entry, "active", f"it helps: e-value {help_:.3g} after {_counts(seen)}")
    if entry.state == "trial" and _never_failed(seen, rules.promote_after):
        return _into(entry, "active", f"{seen.n_with} sessions saw it and none failed")
    return entry


def _never_failed(evidence: Evidence, enough: int | None) -> bool:
    return enough is not None and evidence.n_with >= enough and not evidence.failures_with


def _into(entry: Entry, state: str, reason: str) -> Entry:
    return entry.model_copy(update={"state": state, "reason": reason})


def _counts(evidence: Evidence) -> str:
    return f"{evidence.n_with} sessions with and {evidence.n_without} without it"


def streak_chance(evidence: Evidence) -> float:
    """The chance of its newest run of failures, given the record before it (a success and a failure added)."""
    run = evidence.failures_in_row
    before = evidence.n_with - run
    successes = before - (evidence.failures_with - run)
    return (1 - (successes + 1) / (before + 2)) ** run


def reviewed(entries: Sequence[Entry], entry_id: str, *, approved: bool, note: str) -> tuple[Entry, ...]:
    """The entries after a person's word on one: approved into trial with fresh evidence, or quarantined.

    Raises:
        ValueError: there is no such entry, or it was in trial or active already and is approved.
    """
    found = next((entry for entry in entries if entry.id == entry_id), None)
    if found is None:
        raise ValueError(f"there is no entry {entry_id}")
    if approved and found.state in ("trial", "active"):
        raise ValueError(f"entry {entry_id} is {found.state} already")
    state = {"state": "trial", "evidence": Evidence()} if approved else {"state": "quarantined"}
    moved = found.model_copy(update={**state, "reason": f"review: {note}"})
    return tuple(moved if entry.id == entry_id else entry for entry in entries)
