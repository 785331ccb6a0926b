"""Spans that came after their trace had become a session: the calls and the answer they tell are added at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from atlas.ingest.calls import Call, calls_of
from atlas.ingest.dialects import answered, is_failed, kind_of
from atlas.ingest.spans import Span
from atlas.ingest.spool import Settled
from atlas.ingest.story import EPOCH, finished_of
from atlas.ingest.trace import Trace
from atlas.runtime.telemetry import semconv as sc
from atlas.schema import ANSWER_STEP, Attempt, Body, Event, Session, rebuild
from atlas.schema.events import Answered, Attempted, Finished


def settled_of(trace: Trace, session_id: str) -> Settled:
    """What to remember of a trace that is in the store."""
    told = {kind: trace.of(kind) for kind in ("model", "tool")}
    return Settled(
        trace_id=trace.spans[0].trace_id,
        span_ids=frozenset(span.span_id for span in trace.spans),
        session_id=session_id,
        told={kind: frozenset(span.span_id for span in spans) for kind, spans in told.items()},
        above={kind: frozenset(span.parent_id for span in spans if span.parent_id) for kind, spans in told.items()},
    )


def tells_more(settled: Settled, span: Span) -> bool:
    """Whether a late span tells what the session lacks: a call, unless two instrumentations tell it, or the end."""
    kind = kind_of(span)
    if not settled.session_id or kind == "other":
        return False
    if kind == "agent":
        return span.parent_id is None
    return span.parent_id not in settled.told.get(kind, ()) and span.span_id not in settled.above.get(kind, ())


def late_events(known: Sequence[Event], trace: Trace) -> list[Event]:
    """What these spans add to a session; nothing where it is there already.

    The calls stand behind the session's end, with their own times; a changed attempt, answer and end follow them.
    """
    session = rebuild(known)
    calls = [call for call in calls_of(trace) if not _is_there(call, known)]
    agent = next(iter(trace.of("agent")), None)
    told = [*_told(session, agent, calls)]
    ends = max([span.end_ns for span in trace.spans if span is agent] + [call.end_ns for call in calls], default=0)
    at = max(_moment(ends), session.finished_at or session.created_at)
    bodies = [(_moment(call.end_ns), call.body) for call in calls] + [(at, body) for body in told]
    seq = known[-1].seq
    return [Event(session_id=session.id, seq=seq + n, at=at, body=body) for n, (at, body) in enumerate(bodies, start=1)]


def _told(session: Session, agent: Span | None, calls: Sequence[Call]) -> Iterator[Body]:
    mine = [call for call in calls if call.place.actor == "student" and call.place.step == ANSWER_STEP]
    said = [
        call.body.completion.message.content for call in mine if call.body.type == "model_called" and not call.by_tool
    ]
    own = answered(agent) if agent else ""
    failed = agent is not None and is_failed(agent)
    answer = own or ("" if failed else next((text for text in reversed(said) if text), "")) or session.answer or ""
    changed = answer != (session.answer or "")
    if (mine or changed) and (answer or session.attempts):
        yield Attempted(attempt=_attempt(session, mine, answer))
    if changed:
        accepted = agent.attributes.get(sc.ACCEPTED) if agent else None
        yield Answered(answer=answer, accepted=accepted if isinstance(accepted, bool) else session.accepted)
    if agent is not None:
        end = finished_of(agent, agent, calls)
        if calls or changed or (end.status, end.failure) != (session.status, session.failure):
            yield end
    elif calls:
        yield Finished(status=session.status, failure=session.failure)


def _is_there(call: Call, known: Sequence[Event]) -> bool:
    """Whether a session tells a call already: from these very spans, or, a tool's, from the conversation."""
    if any(event.body.type == call.body.type and event.at == _moment(call.end_ns) for event in known):
        return True
    if call.body.type != "tool_called":
        return False
    use = call.body.use
    nameless = use.call.id == f"call_{call.mark}"
    uses = [event.body.use for event in known if event.body.type == "tool_called"]
    return any(
        each == use.model_copy(update={"call": use.call.model_copy(update={"id": each.call.id})})
        if nameless
        else each.call.id == use.call.id
        for each in uses
    )


def _attempt(session: Session, calls: Sequence[Call], answer: str) -> Attempt:
    """The last attempt at the whole with what was done besides."""
    before = [attempt for attempt in session.attempts if attempt.step == ANSWER_STEP]
    last = before[-1] if before else Attempt()
    used = [call.body.use for call in calls if call.body.type == "tool_called"]
    return last.model_copy(update={"output": answer or last.output, "tools": (*last.tools, *used)})


def _moment(at_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_ns // 1000)
