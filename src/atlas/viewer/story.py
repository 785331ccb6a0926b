"""A session's events as a conversation: who spoke, what was said, and what is worth knowing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from atlas.runtime.telemetry.words import said
from atlas.schema import Body, Completion, Entry, Noun, Plan, Recalled, Reward, ToolCall, Verdict
from atlas.schema import events as ev
from atlas.store.browsed import SeenEvent
from atlas.viewer.rendering import money, number, seconds

Voice = Literal["student", "teacher", "tool", "judge", "atlas"]
Tone = Literal["plain", "good", "bad", "warn"]
_BODY: TypeAdapter[Body] = TypeAdapter(Body)
_VOICES: Mapping[str, Voice] = {"student": "student", "teacher": "teacher", "judge": "judge", "arbiter": "judge"}
SPOKEN = ("answer", "step", "synthesis")
"""Purposes whose replies are the conversation; others are read from the event that tells what became of them."""


class Moment(Noun):
    """One event as a person reads it."""

    seq: int
    """Its number."""
    at: datetime
    """When it happened (UTC)."""
    voice: Voice
    """Who speaks; atlas for what the loop did by itself."""
    title: str
    """What happened, in a few words."""
    text: str | None = None
    """What was said, whole."""
    label: str | None = None
    """What the text is, where that is not plain."""
    facts: tuple[str, ...] = ()
    """Numbers and names beside it."""
    tone: Tone = "plain"
    """Whether it went well."""
    quiet: bool = False
    """Whether it is told in one line until somebody asks."""
    lessons: tuple[Entry, ...] = ()
    """Playbook entries that were put into a prompt."""


def told(events: Sequence[SeenEvent]) -> tuple[Moment, ...]:
    """The moments of these events. A text that the student's reply held already is not said twice."""
    moments: list[Moment] = []
    spoken: set[str] = set()
    for event in events:
        moment = moment_of(event)
        if moment.voice == "student" and moment.text and event.type in ("attempted", "answered", "model_called"):
            text = moment.text.strip()
            if text in spoken and event.type == "attempted":
                moment = moment.model_copy(update={"text": None, "quiet": True})
            spoken.add(text)
        moments.append(moment)
    return tuple(moments)


def moment_of(event: SeenEvent) -> Moment:
    """One event as a person reads it; one that is too long or not understood is named and no more."""
    if event.body is None:
        title = f"{event.type.replace('_', ' ')}: too long to show here"
        return _moment(event, _VOICES.get(event.actor or "", "atlas"), title, quiet=True)
    if event.type == "model_called":
        return _called(event, event.body)
    try:
        return _Teller(event).moment(_BODY.validate_python(event.body))
    except ValidationError:
        return _moment(event, "atlas", f"{event.type}: written by another version of Atlas", quiet=True)


def _moment(event: SeenEvent, voice: Voice, title: str, **more: Any) -> Moment:
    return Moment(seq=event.seq, at=event.at, voice=voice, title=title, **more)


def _called(event: SeenEvent, body: dict[str, Any]) -> Moment:
    """A model's reply; its request is left to the event's own page."""
    completion = Completion.model_validate(body["completion"])
    used = completion.usage
    facts = [str(event.name or ""), f"{number(used.prompt_tokens)} in", f"{number(used.completion_tokens)} out"]
    if used.cached_tokens:
        facts.append(f"{number(used.cached_tokens)} cached")
    if used.cost_usd is not None:
        facts.append(money(used.cost_usd))
    facts.append(seconds(event.duration_s))
    if completion.finish_reason == "length":
        facts.append("cut off at its limit")
    voice, purpose = _VOICES.get(event.actor or "", "atlas"), str(body["purpose"])
    calls = [_asked(call) for call in completion.message.tool_calls]
    text = "\n".join(part for part in (completion.message.content, *calls) if part)
    title = f"{event.actor} · {purpose.replace('_', ' ')}{_where(event.step, event.attempt)}"
    return _moment(event, voice, title, text=text or None, facts=tuple(facts), quiet=purpose not in SPOKEN)


def _asked(call: ToolCall) -> str:
    return f"→ {call.name}({call.arguments})"


def _where(step: int | None, attempt: int | None) -> str:
    """` · step 2 · try 3`, as far as it is worth saying."""
    return (f" · step {step}" if step else "") + (f" · try {attempt}" if attempt and attempt > 1 else "")


class _Teller:
    """Puts one event into words."""

    def __init__(self, event: SeenEvent) -> None:
        self._event = event
        self._place = _where(event.step, event.attempt)

    def moment(self, body: Body) -> Moment:
        """The event as a person reads it."""
        match body:
            case ev.SessionStarted() | ev.SessionResumed() | ev.MemoryRecalled() | ev.Triaged() | ev.Routed():
                return self._before(body)
            case ev.ToolStarted() | ev.ToolCalled() | ev.ModelFailed() | ev.Degraded():
                return self._on_the_way(body)
            case ev.Planned() | ev.Attempted() | ev.Reviewed() | ev.Answered():
                return self._work(body)
            case ev.Judged() | ev.JudgeFailed() | ev.Rewarded():
                return self._judged(body)
            case ev.Compared() | ev.Learnt() | ev.LearningFailed() | ev.Finished():
                return self._end(body)
            case _:
                return self._told("atlas", said(body), quiet=True)

    def _before(
        self, body: ev.SessionStarted | ev.SessionResumed | ev.MemoryRecalled | ev.Triaged | ev.Routed
    ) -> Moment:
        match body:
            case ev.SessionStarted(task=task, policy=policy):
                facts = (f"key {task.learning_key}", *([policy] if policy else []))
                return self._told("atlas", "the task", text=task.prompt, facts=facts)
            case ev.SessionResumed(finished_calls=calls):
                return self._told("atlas", f"resumed; {calls} finished calls are not paid again", tone="warn")
            case ev.MemoryRecalled(student=student, teacher=teacher):
                title = f"lessons: {_recalled(student)}; {_recalled(teacher)}"
                return self._told("atlas", title, lessons=(*student.shown, *teacher.shown), quiet=True)
            case ev.Triaged(dossier=dossier):
                words = (("", dossier.summary), ("risk: ", *dossier.risks), ("signal: ", *dossier.signals))
                text = "\n".join(head + line for head, *lines in words for line in lines if line)
                return self._told("atlas", "triaged", text=text or None, facts=dossier.tags, quiet=True)
            case ev.Routed(route=route):
                facts = () if route.confidence is None else (f"confidence {route.confidence:.2f}",)
                return self._told(
                    "atlas", f"lane {route.lane}, by {route.source}", text=route.reason or None, facts=facts
                )

    def _on_the_way(self, body: ev.ToolStarted | ev.ToolCalled | ev.ModelFailed | ev.Degraded) -> Moment:
        match body:
            case ev.ToolStarted(call=call):
                return self._told("tool", f"{call.name} starts{self._place}", text=_asked(call), quiet=True)
            case ev.ToolCalled(use=use, latency_s=took):
                title, facts = f"{use.call.name}{self._place}", (seconds(took), f"effect {body.effect}")
                result = use.output if use.error is None else use.error
                text = f"{_asked(use.call)}\n\n{result}"
                return self._told("tool", title, text=text, facts=facts, tone="bad" if use.error else "plain")
            case ev.ModelFailed(actor=actor, failure=failure, latency_s=took):
                title = f"{actor} · {body.purpose.replace('_', ' ')} failed{self._place}"
                voice, facts = _VOICES.get(actor, "atlas"), (body.model, failure.kind, seconds(took))
                return self._told(voice, title, text=failure.message, facts=facts, tone="bad")
            case ev.Degraded(what=what, failure=failure):
                return self._told("atlas", f"goes on without {what}", text=failure.message, tone="warn")

    def _work(self, body: ev.Planned | ev.Attempted | ev.Reviewed | ev.Answered) -> Moment:
        match body:
            case ev.Planned(plan=plan, attempt=attempt):
                return self._told("student", f"plan{_where(None, attempt)}", text=plan_text(plan))
            case ev.Attempted(attempt=attempt):
                facts = (f"{len(attempt.tools)} tool calls",) if attempt.tools else ()
                title = f"finished try {attempt.number}" + (f" at step {attempt.step}" if attempt.step else "")
                return self._told("student", title, text=attempt.output or None, facts=facts)
            case ev.Reviewed(review=review):
                word: Tone = "good" if review.accepted else "bad"
                title = f"{review.target} {'accepted' if review.accepted else 'not accepted'}{self._place}"
                label = "guidance" if review.guidance else None
                return self._told("teacher", title, text=review.guidance, label=label, tone=word)
            case ev.Answered(answer=answer, accepted=accepted):
                word = "plain" if accepted is None else "good" if accepted else "warn"
                return self._told("student", "the answer", text=answer, tone=word)

    def _judged(self, body: ev.Judged | ev.JudgeFailed | ev.Rewarded) -> Moment:
        match body:
            case ev.Judged(verdict=verdict):
                return self._verdict(verdict)
            case ev.JudgeFailed(judge=judge, failure=failure):
                title = f"{judge} gave no verdict"
                return self._told("judge", title, text=failure.message, facts=(failure.kind,), tone="warn")
            case ev.Rewarded(reward=reward):
                return self._rewarded(reward)

    def _verdict(self, verdict: Verdict) -> Moment:
        facts = (f"score {verdict.score:.2f}", *([f"± {verdict.uncertainty:.2f}"] if verdict.uncertainty else []))
        tone: Tone = "good" if verdict.score >= 0.5 else "bad"
        return self._told("judge", verdict.judge, text=verdict.rationale or None, facts=facts, tone=tone)

    def _rewarded(self, reward: Reward) -> Moment:
        if reward.value is None:
            return self._told("judge", "no reward", text=reward.reason or None, tone="warn")
        facts = (f"by {reward.source}", *(["an arbiter was asked"] if reward.escalated else []))
        tone: Tone = "good" if reward.value >= 0.5 else "bad"
        return self._told("judge", f"reward {reward.value:.2f}", text=reward.reason or None, facts=facts, tone=tone)

    def _end(self, body: ev.Compared | ev.Learnt | ev.LearningFailed | ev.Finished) -> Moment:
        match body:
            case ev.Compared(entry_id=entry, shown=shown, outcome=outcome):
                title = f"done once more {'without' if shown else 'with'} the lesson {entry}"
                return self._told("atlas", title, facts=(f"outcome {outcome:.2f}",), quiet=True)
            case ev.Learnt(audience=audience, version=version, added=added, changed=changed):
                title = f"the {audience}'s playbook is now version {version}"
                return self._told("atlas", title, facts=(*(f"new {one}" for one in added), *changed))
            case ev.LearningFailed(failure=failure):
                return self._told("atlas", "nothing was learnt", text=failure.message, tone="warn")
            case ev.Finished(status=status, failure=failure):
                tone: Tone = "good" if status == "succeeded" else "bad" if status == "failed" else "warn"
                return self._told("atlas", f"finished: {status}", text=failure.message if failure else None, tone=tone)

    def _told(self, voice: Voice, title: str, **more: Any) -> Moment:
        return _moment(self._event, voice, title, **more)


def plan_text(plan: Plan) -> str:
    """A plan, one step a line."""
    return "\n".join(
        f"{step.id}. {step.description}"
        + (f"  (after {', '.join(map(str, step.depends_on))})" if step.depends_on else "")
        for step in plan.steps
    )


def _recalled(recalled: Recalled) -> str:
    held = f", {len(recalled.held_out)} withheld by chance" if recalled.held_out else ""
    return f"{len(recalled.shown)} shown to the {recalled.audience}{held} (version {recalled.version})"
