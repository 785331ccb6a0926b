"""Nothing learnt acts without evidence or review: candidate -> (review) -> trial -> active -> retired | quarantined."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.evidence import SUCCESS, count, e_bh, e_value, lift, observe, observe_pair
from atlas.memory.curator import Lesson
from atlas.memory.merge import entry_id
from atlas.memory.recall import cost, cue_key
from atlas.memory.rules import MemoryRules
from atlas.memory.taint import borrowed
from atlas.schema import Attempt, Audience, Cue, Entry, Evidence, Provenance, Recalled, Session
from atlas.schema.events import Compared

_TRUST = {"check": 0.6, "arbiter": 0.5, "judges": 0.4, "none": 0.2}
"""Trust in a lesson by the evidence that rewarded its session."""
_TRUST_VERIFIED = 0.8


def proposed(lesson: Lesson, session: Session, author: str, rules: MemoryRules) -> Entry:
    """The lesson as an entry, in trial when its session verified it and the policy allows, else a candidate."""
    cue = Cue(text=lesson.cue)
    source = session.reward.source if session.reward else "none"
    verified = guidance_worked(session)
    doubt = borrowed(lesson.cue, lesson.action, session) if verified else None
    enters = verified and doubt is None and rules.gate == "verified"
    why = "an executed check: guidance turned a failure into success" if verified else f"rewarded by {source}"
    why = f"{why}, but {doubt}" if doubt else why
    return Entry(
        id=entry_id(lesson.audience, cue, lesson.action),
        audience=lesson.audience,
        cue=cue,
        action=lesson.action,
        expected_effect=lesson.expected_effect,
        provenance=Provenance(sessions=(session.id,), author=author, reward_source=source, verdicts=_judges(session)),
        trust=_TRUST_VERIFIED if verified and doubt is None else _TRUST[source],
        state="trial" if enters else "candidate",
        reason=why if enters else f"{why}; waits for review",
    )


def _judges(session: Session) -> tuple[str, ...]:
    return tuple(verdict.judge for verdict in session.reward.verdicts) if session.reward else ()


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
    """What a session says about the entries of one reader, in [0, 1]; None when it was not rewarded, or for a teacher's
    where the teacher had no say.

    A teacher's entry is there to make the final answer right: the reward. A student's is there to make the first try
    right: its own reward where a check read it, 0 where the teacher rejected it, else the reward. Rescue by the
    teacher must neither hide a harmful entry nor make a useful one look useless.
    """
    value = session.reward.value if session.reward else None
    if audience == "teacher" and session.route is not None and session.route.lane == "auto":
        return None
    if session.reward is None or value is None or audience == "teacher":
        return value
    first = [one.value for one in session.reward.steps if one.attempt == 1]
    if first:
        return min(first)
    rejected = any(not one.accepted for one in session.reviews if one.attempt == 1 and one.target != "plan")
    return 0.0 if rejected else value


def observed(
    entries: Sequence[Entry], recalled: Recalled, reward: float, rules: MemoryRules, compared: Compared | None = None
) -> tuple[Entry, ...]:
    """The entries after one more session: those in trial or active that it matched have more evidence, and may move.

    `compared` is what the same task gave the other way round, for the entry that `recalled` chose beforehand.
    """
    odds = dict(recalled.propensities)
    pair = compared if compared is not None and compared.audience == recalled.audience else None
    touched = {
        entry.id
        for entry in entries
        if entry.id in odds and (entry.state in ("trial", "active") or _is_replayed(entry, recalled))
    }
    informed = [_informed(entry, recalled, reward, pair) if entry.id in touched else entry for entry in entries]
    helpful = _found_helpful(informed, rules)
    return tuple(_moved(entry, rules, entry.id in helpful) if entry.id in touched else entry for entry in informed)


def _found_helpful(entries: Sequence[Entry], rules: MemoryRules) -> frozenset[str]:
    """The entries whose evidence for help suffices, each on its own or over all that are measured."""
    measured = [entry for entry in entries if entry.state in ("trial", "active")]
    logs = [entry.evidence.log_e_help for entry in measured]
    if rules.promotion == "fdr":
        return frozenset(measured[at].id for at in e_bh(logs, 1 / rules.promote_e))
    return frozenset(entry.id for entry in measured if e_value(entry.evidence.log_e_help) >= rules.promote_e)


def _is_replayed(entry: Entry, recalled: Recalled) -> bool:
    """Whether a stored task is done both ways to see what a candidate would do."""
    return entry.state == "candidate" and recalled.compared == entry.id


def _informed(entry: Entry, recalled: Recalled, reward: float, pair: Compared | None) -> Entry:
    """The entry with one more session: a pair where it was chosen for one, else what chance showed."""
    shown = any(entry.id == other.id for other in recalled.shown)
    if recalled.compared != entry.id:
        odds = dict(recalled.propensities)[entry.id]
        seen = observe(entry.evidence, shown=shown, reward=reward, propensity=odds)
    elif pair is not None and pair.entry_id == entry.id:
        served = reward if pair.served is None else pair.served
        with_it, without_it = (served, pair.outcome) if shown else (pair.outcome, served)
        seen = observe_pair(entry.evidence, shown=shown, with_it=with_it, without_it=without_it)
    else:
        seen = count(entry.evidence, shown=shown, reward=reward)
    return entry.model_copy(update={"evidence": seen})


def refuted(entries: Sequence[Entry], lessons: Sequence[Entry], recalled: Recalled) -> tuple[Entry, ...]:
    """The entries after a session that spoke against one of them; retired once more sessions refuted it than it helped.

    A session refutes an entry in trial that it saw, where the first try failed, and doing something else for the same
    cue turned the failure into success by an executed check (so the other lesson is verified). One such session is
    proof enough against a lesson that never worked, and not against one with successes of its own. An active entry
    is left to its evidence.
    """
    verified = {cue_key(one.cue): one.id for one in lessons if one.state == "trial"}
    shown = {entry.id for entry in recalled.shown}
    return tuple(
        _refuted(entry, verified[cue_key(entry.cue)])
        if entry.id in shown and entry.state == "trial" and verified.get(cue_key(entry.cue), entry.id) != entry.id
        else entry
        for entry in entries
    )


def _refuted(entry: Entry, other: str) -> Entry:
    times = entry.evidence.refuted + 1
    counted = entry.model_copy(update={"evidence": entry.evidence.model_copy(update={"refuted": times})})
    if times <= entry.evidence.successes_with:
        return counted
    return _into(counted, "retired", f"refuted by an executed check: {other} was right instead")


def _moved(entry: Entry, rules: MemoryRules, helps: bool) -> Entry:
    """The entry in the state its evidence asks for."""
    seen = entry.evidence
    harm, help_ = e_value(seen.log_e_harm), e_value(seen.log_e_help)
    if harm >= rules.harm_e:
        return _into(entry, "quarantined", f"it harms: e-value {harm:.3g} after {_counts(seen)}")
    if streak_chance(seen) < rules.streak_chance:
        return _into(entry, "retired", f"the last {seen.failures_in_row} sessions that saw it failed")
    unpaid = _unpaid_rent(entry, rules)
    if unpaid:
        return _into(entry, "retired", unpaid)
    if entry.state == "trial" and helps:
        return _into(entry, "active", f"it helps: e-value {help_:.3g} after {_counts(seen)}")
    if entry.state == "trial" and _never_failed(seen, rules.promote_after):
        return _into(entry, "active", f"{seen.n_with} sessions saw it and none failed")
    return entry


def _unpaid_rent(entry: Entry, rules: MemoryRules) -> str | None:
    """Why the entry is not worth its tokens; asked once in `rent_period` matched sessions.

    Its estimated lift must be worth its tokens, and at least `min_lift`. Where there is no control to tell, it stays.
    """
    sessions = entry.evidence.n_with + entry.evidence.n_without
    gain = lift(entry.evidence)
    if gain is None or sessions % rules.rent_period:
        return None
    rent = max(rules.min_lift, cost(entry) / rules.success_worth)
    return f"its lift of {gain:+.3f} does not pay its rent of {rent:.3f}" if gain < rent else None


def _never_failed(evidence: Evidence, enough: int | None) -> bool:
    return enough is not None and evidence.n_with >= enough and not evidence.failures_with


def _into(entry: Entry, state: str, reason: str) -> Entry:
    return entry.model_copy(update={"state": state, "reason": reason})


def _counts(evidence: Evidence) -> str:
    both = f", {evidence.pairs} of them done both ways" if evidence.pairs else ""
    return f"{evidence.n_with} sessions with and {evidence.n_without} without it{both}"


def streak_chance(evidence: Evidence) -> float:
    """The chance of its newest run of failures, given the record before it (a success and a failure added)."""
    run = evidence.failures_in_row
    before = evidence.n_with - run
    successes = before - (evidence.failures_with - run)
    return (1 - (successes + 1) / (before + 2)) ** run


def passed(entries: Sequence[Entry], entry_id: str, why: str) -> tuple[Entry, ...]:
    """The entries after one candidate passed the flip gate: it is in trial, with the evidence the gate brought."""
    return tuple(
        _into(entry, "trial", f"flip gate: {why}") if entry.id == entry_id and entry.state == "candidate" else entry
        for entry in entries
    )


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
