"""An event as one line for a person, safe to print on a terminal."""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime

from pydantic_core import PydanticSerializationError

from atlas.schema import Event, Noun, Review, Reward, Route, ToolCall, Usage, Verdict
from atlas.schema import events as ev

LINE_CHARS = 160
"""Characters of a text that are shown."""


def safe(text: str, limit: int | None = LINE_CHARS) -> str:
    """One line without control characters: they are shown as escapes, never sent to the terminal."""
    cut = text if limit is None else text[: limit + 1]
    shown = "".join(_visible(character) for character in cut)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def json_line(noun: Noun, *, without: frozenset[str] = frozenset(), indent: int | None = None) -> str:
    """A noun as JSON. Half a surrogate pair, which UTF-8 cannot hold, is written as an escape."""
    try:
        return noun.model_dump_json(exclude=set(without), indent=indent)
    except PydanticSerializationError:
        return json.dumps(noun.model_dump(exclude=set(without)), default=datetime.isoformat, indent=indent)


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return " "
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def short_id(session_id: str) -> str:
    """The last eight digits: the first ones of a UUID version 7 are its time, and shared by neighbours."""
    return session_id[-8:]


def tokens(usage: Usage) -> str:
    """`1,234 tok $0.0012`."""
    return f"{usage.tokens:,} tok{money(usage.cost_usd)}"


def money(cost_usd: float | None) -> str:
    """` $0.0012`, or nothing where no price is known."""
    return "" if cost_usd is None else f" ${cost_usd:.4f}"


def where(step: int, attempt: int) -> str:
    """`step 2 try 1`; step 0 is the whole task."""
    return (f"step {step} " if step else "") + f"try {attempt}"


def accepted_word(accepted: bool | None) -> str:
    """What became of an answer."""
    return {True: "accepted", False: "not accepted", None: "unreviewed"}[accepted]


def line(event: Event) -> str:
    """`12:00:01 1a2b3c4d routed auto …`."""
    return f"{event.at:%H:%M:%S} {short_id(event.session_id)} {said(event.body)}"


def said(body: ev.Body) -> str:
    """What happened, in a few words."""
    match body:
        case ev.ModelCalled() | ev.ModelFailed() | ev.ToolStarted() | ev.ToolCalled():
            return _call(body)
        case ev.Planned() | ev.Attempted() | ev.Reviewed() | ev.Answered() | ev.Degraded():
            return _work(body)
        case ev.Judged() | ev.JudgeFailed() | ev.Rewarded() | ev.Compared() | ev.Learnt() | ev.LearningFailed():
            return _after(body)
        case _:
            return _way(body)


def _way(body: ev.Body) -> str:
    match body:
        case ev.SessionStarted(task=task):
            return f"started {safe(task.prompt)}"
        case ev.SessionResumed(finished_calls=calls):
            return f"resumed, {calls} finished calls are not paid again"
        case ev.MemoryRecalled(student=student, teacher=teacher):
            return f"recalled {len(student.shown)} lessons for the student, {len(teacher.shown)} for the teacher"
        case ev.Triaged(dossier=dossier):
            return "triaged" + "".join(f", risk: {safe(risk, 60)}" for risk in dossier.risks)
        case ev.Routed(route=route):
            return _route(route)
        case ev.Finished(status=status, failure=failure):
            return f"finished {status}{_failure(failure)}"
        case _:
            return body.type


def _call(body: ev.ModelCalled | ev.ModelFailed | ev.ToolStarted | ev.ToolCalled) -> str:
    match body:
        case ev.ModelCalled(actor=actor, purpose=purpose, completion=completion, latency_s=seconds):
            return f"{actor} {purpose} {where(body.step, body.attempt)}: {tokens(completion.usage)} {seconds:.2f} s"
        case ev.ModelFailed(actor=actor, purpose=purpose, failure=failure):
            return f"{actor} {purpose} {where(body.step, body.attempt)} failed{_failure(failure)}"
        case ev.ToolStarted(call=call):
            return f"tool {_tool(call)} starts"
        case ev.ToolCalled(use=use):
            outcome = safe(use.output, 80) if use.error is None else f"error: {safe(use.error, 80)}"
            return f"tool {_tool(use.call)} -> {outcome}"


def _work(body: ev.Planned | ev.Attempted | ev.Reviewed | ev.Answered | ev.Degraded) -> str:
    match body:
        case ev.Planned(plan=plan, attempt=attempt):
            return f"planned {len(plan.steps)} steps, {where(0, attempt)}"
        case ev.Attempted(attempt=attempt):
            return f"attempted {where(attempt.step, attempt.number)}: {safe(attempt.output)}"
        case ev.Reviewed(review=review):
            return _review(review)
        case ev.Answered(answer=answer, accepted=accepted):
            return f"answered ({accepted_word(accepted)}): {safe(answer)}"
        case ev.Degraded(what=what, failure=failure):
            return f"degraded: {safe(what)}{_failure(failure)}"


def _after(body: ev.Judged | ev.JudgeFailed | ev.Rewarded | ev.Compared | ev.Learnt | ev.LearningFailed) -> str:
    match body:
        case ev.Judged(verdict=verdict):
            return _verdict(verdict)
        case ev.JudgeFailed(judge=judge, failure=failure):
            return f"judge {safe(judge, 60)} gave no verdict{_failure(failure)}"
        case ev.Rewarded(reward=reward):
            return _reward(reward)
        case ev.Compared(entry_id=entry_id, shown=shown, outcome=outcome):
            lesson = f"{'without' if shown else 'with'} lesson {safe(entry_id, 20)}"
            return f"once more {lesson if entry_id else f'with version {body.against}'}: {outcome:.2f}"
        case ev.Learnt(audience=audience, version=version, added=added, changed=changed):
            back = f", rolled back: {safe(body.rolled_back)}" if body.rolled_back else ""
            return f"learnt: {audience}'s playbook version {version}, {len(added)} new, {len(changed)} changed{back}"
        case ev.LearningFailed(failure=failure):
            return f"learnt nothing{_failure(failure)}"


def _tool(call: ToolCall) -> str:
    return f"{safe(call.name, 60)}({safe(call.arguments, 80)})"


def _route(route: Route) -> str:
    sure = "" if route.confidence is None else f" {route.confidence:.2f}"
    return f"routed {route.lane}{sure} by {route.source}: {safe(route.reason)}"


def _review(review: Review) -> str:
    target = "plan" if review.target == "plan" else where(review.step, review.attempt)
    guidance = f": {safe(review.guidance)}" if review.guidance else ""
    return f"reviewed {target} {'accepted' if review.accepted else 'not accepted'}{guidance}"


def _verdict(verdict: Verdict) -> str:
    return f"judge {safe(verdict.judge, 60)} {verdict.score:.2f} ±{verdict.uncertainty:.2f}: {safe(verdict.rationale)}"


def _reward(reward: Reward) -> str:
    value = "none" if reward.value is None else f"{reward.value:.2f}"
    reason = f": {safe(reward.reason)}" if reward.reason else ""
    return f"reward {value} by {reward.source}{', escalated' if reward.escalated else ''}{reason}"


def _failure(failure: ev.Failure | None) -> str:
    return f": {safe(failure.message)}" if failure is not None else ""
