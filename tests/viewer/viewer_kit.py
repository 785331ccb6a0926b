"""Sessions for the viewer's tests, and a reader of its pages."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Cue,
    Dossier,
    Entry,
    Event,
    Evidence,
    Message,
    Plan,
    Playbook,
    Principle,
    Provenance,
    Recalled,
    Request,
    Review,
    Reward,
    Route,
    Step,
    StepReward,
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
    JudgeFailed,
    LearningFailed,
    Learnt,
    MemoryRecalled,
    ModelCalled,
    ModelFailed,
    Planned,
    Reviewed,
    Rewarded,
    Routed,
    SessionResumed,
    SessionStarted,
    ToolCalled,
    ToolStarted,
    Triaged,
)
from atlas.store import Store


@dataclass
class Reader:
    """Asks for pages with the cookie that the token gave."""

    session: aiohttp.ClientSession

    async def page(self, path: str, *, expect: int = 200, **params: Any) -> str:
        """A page as HTML."""
        async with self.session.get(path, params=params) as answer:
            text = await answer.text()
            assert answer.status == expect, text
            return text

    async def json(self, path: str, *, expect: int = 200, **params: Any) -> Any:
        """A page as JSON."""
        async with self.session.get(path, params={**params, "format": "json"}) as answer:
            assert answer.status == expect, await answer.text()
            return await answer.json()

    async def csrf(self) -> str:
        """The proof that a page holds."""
        found = re.search(r'data-csrf="(\w+)"', await self.page("/sessions"))
        assert found
        return found[1]

    async def post(
        self, path: str, fields: Sequence[tuple[str, str]], *, csrf: str | None = None
    ) -> aiohttp.ClientResponse:
        """Send a form as a page of the server does."""
        proof = await self.csrf() if csrf is None else csrf
        form = aiohttp.FormData([("csrf", proof), *fields])
        return await self.session.post(path, data=form, allow_redirects=False)


def entry(text: str = "Use the refund tool.", **changes: Any) -> Entry:
    """A lesson with `text` in every field that takes words."""
    made = Entry(
        id=f"e-{uuid.uuid4().hex[:12]}",
        audience="student",
        cue=Cue(text=text),
        action=text,
        expected_effect=text,
        provenance=Provenance(author=text, reward_source="check"),
        state="trial",
        reason=text,
        evidence=Evidence(
            n_with=12, successes_with=10, n_without=5, successes_without=2, log_e_help=2.5, log_e_harm=-1.0
        ),
    )
    return made.model_copy(update=changes)


def told(prompt: str = "Where is order 7?", *, text: str = "a fine word", reward: float | None = 0.9) -> list[Body]:
    """A session with every kind of event, `text` in every field that takes words."""
    call = ToolCall(id="call-1", name="find_order", arguments='{"number": 7}').model_copy(update={"arguments": text})
    use = ToolUse(call=call, output=text)
    verdict = Verdict(
        judge="rubric",
        score=reward or 0.0,
        uncertainty=0.1,
        principles=(Principle(name=text, weight=0.5, description=text),),
        rationale=text,
        student_note=text,
        teacher_note=text,
    )
    failure = Failure(boundary="tool", kind="ToolError", message=text)
    lesson = entry(text)
    recalled = Recalled(
        audience="student", version=1, shown=(lesson,), held_out=("e-other",), propensities=((lesson.id, 0.8),)
    )
    return [
        SessionStarted(
            task=Task(prompt=prompt, learning_key="orders", payload={"deep": [text], text: 1}),
            policy="student=scripted:one;teacher=scripted:two",
            metadata={"note": text},
        ),
        MemoryRecalled(student=recalled, teacher=Recalled(audience="teacher", version=0)),
        Triaged(dossier=Dossier(summary=text, risks=(text,), signals=(text,), tags=(text,))),
        Routed(route=Route(lane="coach", confidence=0.4, source="history", reason=text)),
        called("student", "plan", text),
        Planned(plan=Plan(steps=(Step(id=1, description=text), Step(id=2, description=text, depends_on=(1,))))),
        Reviewed(review=Review(target="plan", accepted=True)),
        called("student", "step", text, call, step=1),
        ToolStarted(step=1, call=call),
        ToolCalled(step=1, use=use, effect="external", latency_s=0.2),
        ToolCalled(step=1, use=ToolUse(call=call, error=text), effect="none", latency_s=0.1),
        Attempted(attempt=Attempt(step=1, output=f"first {text}", tools=(use,))),
        called("teacher", "verify", text, step=1),
        Reviewed(review=Review(target="step", step=1, accepted=False, guidance=text)),
        Attempted(attempt=Attempt(step=1, number=2, output=f"second {text}", guidance=text)),
        Reviewed(review=Review(target="step", step=1, attempt=2, accepted=True)),
        Attempted(attempt=Attempt(step=2, output=text)),
        ModelFailed(actor="teacher", purpose="verify", model=text, failure=failure, latency_s=1.0),
        Degraded(what=text, failure=failure),
        SessionResumed(finished_calls=3),
        Answered(answer=text, accepted=True),
        Finished(status="succeeded"),
        called("judge", "judge", text),
        Judged(verdict=verdict),
        JudgeFailed(judge=text, failure=failure),
        Rewarded(
            reward=Reward(
                value=reward,
                uncertainty=0.1,
                source="judges" if reward is not None else "none",
                verdicts=(verdict,),
                escalated=True,
                reason=text,
                steps=(StepReward(step=1, attempt=1, value=0.0), StepReward(step=1, attempt=2, value=1.0)),
            )
        ),
        Learnt(audience="student", version=2, added=(text,), changed=(text,)),
        LearningFailed(failure=failure),
    ]


def called(actor: str, purpose: str, text: str, *calls: ToolCall, step: int = 0) -> ModelCalled:
    """A model's call whose prompt and reply hold the text."""
    return ModelCalled.model_validate(
        {
            "actor": actor,
            "purpose": purpose,
            "step": step,
            "model": "scripted:one",
            "request_hash": "0" * 64,
            "request": Request(
                messages=(Message(role="system", content="You help."), Message(role="user", content=text))
            ),
            "completion": Completion(
                message=Message(role="assistant", content=text, tool_calls=calls),
                usage=Usage(calls=1, prompt_tokens=100, cached_tokens=40, completion_tokens=20, cost_usd=0.002),
                model="one",
            ),
            "latency_s": 0.5,
        }
    )


def id_at(moment: datetime) -> str:
    """A session id of a moment."""
    millis = int(moment.timestamp() * 1000)
    return str(uuid.UUID(int=(millis << 80) | (uuid.UUID(new_id()).int & ((1 << 80) - 1))))


def events_of(bodies: Sequence[Body], *, at: datetime | None = None) -> list[Event]:
    """The bodies as one session's events, begun at a moment."""
    start = at or now()
    uid = id_at(start)
    return [
        Event(session_id=uid, seq=seq, at=start + timedelta(milliseconds=seq), body=body)
        for seq, body in enumerate(bodies, start=1)
    ]


async def put(store: Store, events: Sequence[Event], *books: Playbook) -> str:
    """Store a session whole, with the playbook versions it brings; its id."""
    await store.append(events)
    await store.flush()
    await store.commit(rebuild(events), books)
    return events[0].session_id


async def play(store: Store, prompt: str = "Where is order 7?", **given: Any) -> str:
    """Store a whole session; its id."""
    return await put(store, events_of(told(prompt, **given)))
