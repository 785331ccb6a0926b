"""The calls of a trace: of models, of tools, and of tools that only the conversation tells of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

from atlas.ingest.dialects import effect_of, fault, heard, is_failed, used
from atlas.ingest.spans import Span
from atlas.ingest.trace import Trace
from atlas.ingest.values import count, one_of
from atlas.models.caller import Place, request_hash
from atlas.runtime.telemetry import semconv as sc
from atlas.schema import Actor, Completion, Message, Purpose, ToolCall, ToolUse
from atlas.schema.events import ModelCalled, ModelFailed, ToolCalled

ACTORS: tuple[Actor, ...] = get_args(Actor)
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
MOST_STEPS = 1_000_000
"""A larger step or attempt is taken for a mistake."""


class Call(NamedTuple):
    """A call, placed in time and in the session. Calls of one moment always sort the same way."""

    end_ns: int
    """When it was over, in nanoseconds since 1970."""
    start_ns: int
    """When it began."""
    mark: str
    """Tells calls of the same times apart."""
    place: Place
    """Where in the session it belongs; a foreign agent's calls are all the student's first attempt."""
    body: ModelCalled | ModelFailed | ToolCalled
    """What is recorded of it."""
    sent: tuple[Message, ...] = ()
    """The conversation a model was sent."""
    by_tool: bool = False
    """Whether it happened within a tool."""


def calls_of(trace: Trace) -> list[Call]:
    """Every call, in the order in which they were over."""
    calls = [_model(span, by_tool=trace.is_below(span, "tool")) for span in trace.of("model")]
    calls += [_tool(span) for span in trace.of("tool")]
    spoken = _with_ids(sorted(calls, key=_order))
    return sorted((*spoken, *_unseen(spoken)), key=_order)


def _order(call: Call) -> tuple[int, int, str]:
    return call.end_ns, call.start_ns, call.mark


def _model(span: Span, *, by_tool: bool) -> Call:
    found, place = heard(span), _place(span)
    seconds = (span.end_ns - span.start_ns) / 1e9
    key = request_hash(found.model, found.request)
    body: ModelCalled | ModelFailed
    if found.said is None and is_failed(span):
        body = ModelFailed(
            **place.model_dump(),
            model=found.model,
            request_hash=key,
            failure=fault(span, boundary="model"),
            latency_s=seconds,
        )
    else:
        body = ModelCalled(
            **place.model_dump(),
            model=found.model,
            request_hash=key,
            request=found.request,
            completion=Completion(
                message=found.said or Message(role="assistant"),
                finish_reason=found.finish_reason,
                usage=found.usage,
                model=found.reported,
            ),
            latency_s=seconds,
        )
    return Call(span.end_ns, span.start_ns, span.span_id, place, body, found.request.messages, by_tool)


def _tool(span: Span) -> Call:
    place = _place(span)
    seconds = (span.end_ns - span.start_ns) / 1e9
    effect = effect_of(span)
    body = ToolCalled(step=place.step, attempt=place.attempt, use=used(span), effect=effect, latency_s=seconds)
    return Call(span.end_ns, span.start_ns, span.span_id, place, body)


def _place(span: Span) -> Place:
    """Where Atlas says that a call belongs."""
    found = span.attributes
    actor: Actor = one_of(found.get(sc.ACTOR), ACTORS, "student")
    purpose: Purpose = one_of(found.get(sc.PURPOSE), PURPOSES, "answer")
    step, attempt = min(count(found.get(sc.STEP)), MOST_STEPS), min(count(found.get(sc.ATTEMPT)), MOST_STEPS)
    return Place(actor=actor, purpose=purpose, step=step, attempt=attempt or 1)


def _with_ids(calls: Sequence[Call]) -> list[Call]:
    """Tool spans that do not name their call get the oldest unanswered one of that name."""
    named = {call.body.use.call.id for call in calls if call.body.type == "tool_called"}
    waiting: list[ToolCall] = []
    matched: list[Call] = []
    for call in calls:
        if call.body.type == "model_called":
            waiting += [wanted for wanted in call.body.completion.message.tool_calls if wanted.id not in named]
        elif call.body.type == "tool_called" and not call.body.use.call.id:
            use = call.body.use
            wanted = next((one for one in waiting if one.name == use.call.name), None)
            if wanted is not None:
                waiting.remove(wanted)
            own = wanted or use.call.model_copy(update={"id": f"call_{call.mark}"})
            use = use.model_copy(update={"call": own})
            call = call._replace(body=call.body.model_copy(update={"use": use}))
        matched.append(call)
    return matched


def _unseen(calls: Sequence[Call]) -> Iterator[Call]:
    """Tools without a span, told by the conversation: a model asked for one and a later request holds its result."""
    answered = {call.body.use.call.id for call in calls if call.body.type == "tool_called"}
    wanted: dict[str, tuple[ToolCall, int]] = {}
    for call in sorted(calls, key=lambda call: call.start_ns):
        results = [message for message in call.sent if message.role == "tool" and message.tool_call_id in wanted]
        for message in results:
            asked, since_ns = wanted.pop(message.tool_call_id or "")
            at_ns = max(call.start_ns, since_ns)
            body = ToolCalled(
                step=call.place.step,
                attempt=call.place.attempt,
                use=ToolUse(call=asked, output=message.content),
                effect="external",
                latency_s=(at_ns - since_ns) / 1e9,
            )
            yield Call(at_ns, since_ns, f"{call.mark} {asked.id}", call.place, body)
        if call.body.type == "model_called":
            new = [one for one in call.body.completion.message.tool_calls if one.id not in answered]
            wanted |= {one.id: (one, call.end_ns) for one in new}
