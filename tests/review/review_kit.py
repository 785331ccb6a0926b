"""Sessions for the tests of review."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Dossier,
    Event,
    Message,
    Request,
    Review,
    Reward,
    Route,
    Task,
    ToolCall,
    ToolUse,
    Usage,
    Verdict,
    new_id,
    now,
    rebuild,
)
from atlas.schema.events import (
    Answered,
    Attempted,
    Degraded,
    Failure,
    Finished,
    Judged,
    ModelCalled,
    Reviewed,
    Rewarded,
    Routed,
    SessionStarted,
    ToolCalled,
    Triaged,
)
from atlas.store import Store


def story(text: str = "a fine answer", *, task: Task | None = None, reward: float | None = 0.9) -> list[Body]:
    """A session with `text` in every field that takes words."""
    call = ToolCall(id="call-1", name="look_up", arguments='{"query": "x"}').model_copy(update={"arguments": text})
    verdict = Verdict(judge="rubric", score=reward or 0.0, rationale=text, student_note=text, teacher_note=text)
    failure = Failure(boundary="tool", kind="ToolError", message=text)
    request = Request(messages=(Message(role="system", content=text), Message(role="user", content=f"Look: {text}")))
    used = Usage(calls=1, prompt_tokens=20, completion_tokens=5)
    completion = Completion(
        message=Message(role="assistant", content=text, tool_calls=(call,)), usage=used, token_ids=(1, 2)
    )
    return [
        SessionStarted(
            task=task or Task(prompt=text, payload={"deep": {"list": [text]}, text: 1}),
            metadata={"note": text, "nested": [{"more": text}]},
        ),
        Triaged(dossier=Dossier(summary=text, risks=(text,), signals=(text,), tags=(text,))),
        Routed(route=Route(lane="auto", source="history", reason=text)),
        ModelCalled(
            actor="student",
            purpose="answer",
            model="scripted:one",
            request_hash="0" * 64,
            request=request,
            completion=completion,
            latency_s=0.1,
        ),
        ToolCalled(use=ToolUse(call=call, output=text, error=text), effect="none", latency_s=0.1),
        Attempted(attempt=Attempt(output=text, tools=(ToolUse(call=call, output=text),), guidance=text)),
        Reviewed(review=Review(target="answer", accepted=False, guidance=text)),
        Degraded(what=text, failure=failure),
        Answered(answer=text, accepted=True),
        Finished(status="succeeded", failure=failure),
        Judged(verdict=verdict),
        Rewarded(reward=Reward(value=reward, source="judges" if reward is not None else "none", verdicts=(verdict,))),
    ]


def events_of(bodies: Sequence[Body], *, at: datetime | None = None) -> list[Event]:
    """The bodies as one session's events, begun at a moment."""
    start = at or now()
    uid = new_id() if at is None else id_at(at)
    return [
        Event(session_id=uid, seq=seq, at=start + timedelta(milliseconds=seq), body=body)
        for seq, body in enumerate(bodies, start=1)
    ]


def id_at(moment: datetime) -> str:
    """A session id of a moment."""
    millis = int(moment.timestamp() * 1000)
    return str(uuid.UUID(int=(millis << 80) | (uuid.UUID(new_id()).int & ((1 << 80) - 1))))


async def put(store: Store, events: Sequence[Event], *, commit: bool = True) -> str:
    """Store a session whole; its id."""
    await store.append(events)
    await store.flush()
    if commit:
        await store.commit(rebuild(events))
    return events[0].session_id
