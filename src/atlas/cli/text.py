"""Nouns as text for a terminal."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

import click

from atlas.evidence import e_value
from atlas.runtime.telemetry.words import accepted_word, money, safe, tokens, where
from atlas.schema import Attempt, Entry, Playbook, Review, Session
from atlas.store import SessionRow


def say(text: str, out: TextIO | None = None) -> None:
    """Print a text that a model or a user wrote: as it is into a pipe, without control characters on a terminal."""
    where_to = out or sys.stdout
    if where_to.isatty():
        text = "\n".join(safe(line, None) for line in text.split("\n"))
    click.echo(text.encode("utf-8", "backslashreplace").decode("utf-8"), file=where_to)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines with aligned columns; the last column is as long as it is."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()


def session_rows(rows: Sequence[SessionRow]) -> Iterator[str]:
    """The list of sessions."""
    table = [("SESSION", "STARTED", "STATUS", "REVIEW", "LANE", "REWARD", "DRIFT", "TOKENS", "COST", "KEY", "TASK")]
    for row in rows:
        reward = "-" if row.reward is None else f"{row.reward:.2f}"
        cost = money(row.cost_usd).strip() or "-"
        started, key = f"{row.created_at:%Y-%m-%d %H:%M}", safe(row.learning_key, 24)
        drift = {None: "-", False: "no", True: "yes"}[row.drift]
        state = (row.status, row.review, row.lane or "-", reward, drift, f"{row.tokens:,}", cost)
        table.append((row.id, started, *state, key, safe(row.prompt, 60)))
    return columns(table)


def session_text(session: Session) -> Iterator[str]:
    """Everything about a session that a person wants to know first."""
    yield f"session   {session.id}"
    yield f"task      {safe(session.task.prompt, 2000)}"
    yield f"key       {safe(session.task.learning_key)}"
    yield f"status    {session.status}" + (f": {safe(session.failure.message, 500)}" if session.failure else "")
    yield f"started   {session.created_at:%Y-%m-%d %H:%M:%S} UTC" + _seconds(session)
    if session.route is not None:
        yield f"lane      {session.route.lane} by {session.route.source}: {safe(session.route.reason, 500)}"
    for memory in (session.student_memory, session.teacher_memory):
        if memory.shown:
            lessons = ", ".join(safe(entry.action, 80) for entry in memory.shown)
            yield f"playbook  {memory.audience} version {memory.version}: {lessons}"
    for step in session.plan.steps if session.plan else ():
        after = f" (after {', '.join(map(str, step.depends_on))})" if step.depends_on else ""
        yield f"plan      {step.id}. {safe(step.description, 500)}{after}"
    yield from _work(session.attempts, session.reviews)
    for lack in session.degraded:
        yield f"degraded  {safe(lack.what, 500)}: {safe(lack.failure.message, 500)}"
    if session.answer is not None:
        yield f"answer    ({accepted_word(session.accepted)}) {safe(session.answer, 4000)}"
    yield from _reward(session)
    for role in session.usage:
        yield f"usage     {role.actor}: {tokens(role.usage)}, {role.usage.calls} calls"


def session_line(session: Session) -> str:
    """What became of a session, on one line."""
    lane = session.route.lane if session.route else "-"
    value = session.reward.value if session.reward else None
    reward = "no verdict" if value is None else f"reward {value:.2f}"
    return (
        f"session {session.id} {session.status}, {lane}, {accepted_word(session.accepted)}, {reward}, "
        f"{tokens(session.total_usage)}{''.join(f'; {safe(lack.what, 80)}' for lack in session.degraded)}"
    )


def _seconds(session: Session) -> str:
    if session.finished_at is None:
        return ""
    return f", {(session.finished_at - session.created_at).total_seconds():.2f} s"


def _work(attempts: Sequence[Attempt], reviews: Sequence[Review]) -> Iterator[str]:
    for attempt in attempts:
        for use in attempt.tools:
            outcome = safe(use.output, 200) if use.error is None else f"error: {safe(use.error, 200)}"
            yield f"tool      {safe(use.call.name, 60)}({safe(use.call.arguments, 200)}) -> {outcome}"
        yield f"attempt   {where(attempt.step, attempt.number)}: {safe(attempt.output, 1000)}"
        for review in reviews:
            if (review.step, review.attempt) == (attempt.step, attempt.number) and review.target != "plan":
                guidance = f": {safe(review.guidance, 1000)}" if review.guidance else ""
                yield f"review    {'accepted' if review.accepted else 'not accepted'}{guidance}"


def _reward(session: Session) -> Iterator[str]:
    reward = session.reward
    if reward is None:
        return
    value = "none" if reward.value is None else f"{reward.value:.2f}"
    yield f"reward    {value} by {reward.source}" + (f": {safe(reward.reason, 500)}" if reward.reason else "")
    for verdict in reward.verdicts:
        yield f"verdict   {safe(verdict.judge, 60)} {verdict.score:.2f} {safe(verdict.rationale, 500)}".rstrip()


def playbook_text(playbook: Playbook) -> Iterator[str]:
    """A playbook with the evidence of its entries."""
    origin = f" ({safe(playbook.origin, 300)})" if playbook.origin else ""
    yield f"{playbook.audience}'s playbook of {safe(playbook.key)}, version {playbook.version}{origin}"
    for entry in playbook.entries:
        yield f"  [{entry.state}] {lesson_text(entry)}"
        yield f"    {entry.id}, trust {entry.trust:.2f}, {evidence_text(entry)}"
        if entry.reason:
            yield f"    {safe(entry.reason, 500)}"
        if entry.state == "candidate":
            yield from _for_review(entry)
    if not playbook.entries:
        yield "  nothing yet"


def _for_review(entry: Entry) -> Iterator[str]:
    """What a reviewer decides about: the very characters that would stand in a prompt, and where they come from."""
    line = f"- {entry.cue.text}: {entry.action}" if entry.cue.text else f"- {entry.action}"
    yield f"    in a prompt it would read {json.dumps(line)}"
    if entry.cue.when is not None:
        yield f"    it would apply where {entry.cue.when.model_dump_json(exclude_defaults=True)}"
    source = entry.provenance
    parts = [*(f"session {name}" for name in source.sessions), *source.lineage]
    yield f"    written by {safe(source.author or 'nobody named', 80)}, from {safe(', '.join(parts) or 'nothing', 500)}"


def rolled_back_line(playbook: Playbook) -> str | None:
    """What was withdrawn from the playbook because it did harm; None where nothing was."""
    if not playbook.origin.startswith("rollback"):
        return None
    return f"{playbook.audience}'s playbook, version {playbook.version}: {safe(playbook.origin, 500)}"


def lesson_text(entry: Entry) -> str:
    """A lesson on one line, with its cue."""
    cue = f"when “{safe(entry.cue.text, 200)}”: " if entry.cue.text else ""
    return cue + safe(entry.action, 1000)


def evidence_text(entry: Entry) -> str:
    """What was measured about a lesson, on one line."""
    seen = entry.evidence
    with_it = f"{seen.successes_with:.1f} of {seen.n_with} with it"
    without = f"{seen.successes_without:.1f} of {seen.n_without} without"
    pairs = f", {seen.pairs} done both ways ({seen.pair_gain:+.1f})" if seen.pairs else ""
    bets = f"e-values {e_value(seen.log_e_help):.3g} for help and {e_value(seen.log_e_harm):.3g} for harm"
    return f"{with_it}, {without}{pairs}, {bets}, learnt from {len(entry.provenance.sessions)} sessions"


def playbook_rows(playbooks: Sequence[Playbook]) -> Iterator[str]:
    """The list of playbooks."""
    table = [("KEY", "AUDIENCE", "VERSION", "WRITTEN", "LESSONS")]
    for playbook in playbooks:
        states = Counter(entry.state for entry in playbook.entries)
        lessons = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none"
        written = f"{playbook.created_at:%Y-%m-%d %H:%M}"
        table.append((safe(playbook.key, 60), playbook.audience, str(playbook.version), written, lessons))
    return columns(table)
