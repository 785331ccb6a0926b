"""A whole trace as a session: what was asked, the calls in their order, what was answered.

The same spans give the same session whatever the order of their arrival, to the last byte: that is what makes a second
delivery harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from atlas.ingest.calls import Call, calls_of
from atlas.ingest.dialects import answered, asked, fault, is_failed
from atlas.ingest.labels import labels_of, learning_key_of
from atlas.ingest.spans import Span
from atlas.ingest.trace import Trace
from atlas.ingest.values import one_of
from atlas.runtime.telemetry import semconv as sc
from atlas.schema import Attempt, Body, Event, Failure, Status, Task
from atlas.schema.events import Answered, Attempted, Finished, SessionStarted

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FINAL: tuple[Status | None, ...] = ("succeeded", "failed", "cancelled", "interrupted")


def session_of(trace: Trace, *, tenant: str, learning_key: str | None) -> list[Event]:
    """The events of the session that a trace tells. Without a given key it learns under its agent's name."""
    agent = next(iter(trace.of("agent")), None)
    main = agent or trace.root
    calls = calls_of(trace)
    answer = _answer(agent, calls)
    begins = trace.spans[0].start_ns
    ends = main.end_ns if agent else max([main.end_ns, *(call.end_ns for call in calls)])
    start = SessionStarted(
        task=Task(prompt=_prompt(agent, calls), learning_key=learning_key or learning_key_of(main), tenant=tenant),
        policy=next((f"student={call.body.model}" for call in calls if call.body.type != "tool_called"), ""),
        metadata=labels_of(trace, main),
    )
    told: list[tuple[int, Body]] = [(begins, start), *_work(calls, answer, ends)]
    if answer:
        accepted = main.attributes.get(sc.ACCEPTED)
        told.append((ends, Answered(answer=answer, accepted=accepted if isinstance(accepted, bool) else None)))
    told.append((ends, finished_of(main, agent, calls)))
    return [
        Event(session_id=trace.session_id, seq=seq, at=EPOCH + timedelta(microseconds=at_ns // 1000), body=body)
        for seq, (at_ns, body) in enumerate(told, start=1)
    ]


def _prompt(agent: Span | None, calls: Sequence[Call]) -> str:
    """What the agent was asked; else the user's last words to the first model that heard any."""
    own = asked(agent) if agent else ""
    heard = ([message.content for message in call.sent if message.role == "user"] for call in calls)
    return own or next((words[-1] for words in heard if words), "")


def _answer(agent: Span | None, calls: Sequence[Call]) -> str:
    """What the agent answered; else the student's last words outside of tools. What failed at last has no answer."""
    own = answered(agent) if agent else ""
    if own or (agent and is_failed(agent)):
        return own
    said = [call.body for call in calls if call.place.actor == "student" and not call.by_tool]
    models = [body for body in said if body.type != "tool_called"]
    last = models[-1] if models else None
    return last.completion.message.content if last and last.type == "model_called" else ""


def _work(calls: Sequence[Call], answer: str, ends_ns: int) -> Iterator[tuple[int, Body]]:
    """The calls, and after the last one of each attempt the attempt itself."""
    tries: dict[tuple[int, int], list[Call]] = {}
    for call in calls:
        if call.place.actor == "student" and call.place.purpose in ("answer", "step"):
            tries.setdefault((call.place.step, call.place.attempt), []).append(call)
    final = max((place for place in tries if place[0] == 0), default=None)
    for call in calls:
        yield call.end_ns, call.body
        place = (call.place.step, call.place.attempt)
        if place in tries and tries[place][-1] is call:
            attempt = _attempt(place, tries[place], answer if place == final else "")
            if attempt is not None:
                yield call.end_ns, Attempted(attempt=attempt)
    if not tries and answer:
        yield ends_ns, Attempted(attempt=Attempt(output=answer))


def _attempt(place: tuple[int, int], calls: Sequence[Call], answer: str) -> Attempt | None:
    """One try of the student; None where its model never answered."""
    said = [call.body.completion.message.content for call in calls if call.body.type == "model_called"]
    if not said and not answer:
        return None
    tools = tuple(call.body.use for call in calls if call.body.type == "tool_called")
    return Attempt(step=place[0], number=place[1], output=answer or said[-1], tools=tools)


def finished_of(main: Span, agent: Span | None, calls: Sequence[Call]) -> Finished:
    """How it ended: as Atlas says itself, else as the agent's span says, else as the last model call went."""
    status: Status | None = one_of(main.attributes.get(sc.STATUS), FINAL, None)
    models = [call.body for call in calls if call.body.type != "tool_called"]
    failure: Failure | None = None
    if is_failed(main):
        failure = fault(main)
    elif agent is None and models and models[-1].type == "model_failed":
        failure = models[-1].failure
    if status == "succeeded":
        failure = None
    return Finished(status=status or ("failed" if failure else "succeeded"), failure=failure)
