"""What a session keeps of a trace beside its conversation, as a payload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.ingest.spans import Span
from atlas.ingest.trace import Trace
from atlas.ingest.values import LONGEST_NAME, first, kept, listed, parsed, text
from atlas.runtime.telemetry import semconv as sc

CONTENT = (
    "gen_ai.input.",
    "gen_ai.output.",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.prompt",
    "gen_ai.completion",
    "input.",
    "output.",
    "llm.input_messages",
    "llm.output_messages",
    "llm.tools",
    "traceloop.entity.input",
    "llm.prompts",
    "llm.choices",
    "llm.invocation_parameters",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "tool.parameters",
    "tool_call.function.arguments",
    "retrieval.documents",
)
"""Beginnings of names that hold what was said; a session has it in its calls."""
MOST_SPANS = 100
"""Spans that are no calls and are kept by name; the others are counted only."""
CONVERSATION_NAMES = (sc.CONVERSATION, "session.id", "traceloop.association.properties.session_id")
USER_NAMES = ("user.id", "enduser.id", "traceloop.association.properties.user_id")


def without_content(span: Span) -> Span:
    """The span without what was said, in its events as well."""
    kept_attributes = {name: value for name, value in span.attributes.items() if not name.startswith(CONTENT)}
    return span.model_copy(update={"attributes": kept_attributes, "events": (), "message": ""})


def learning_key_of(span: Span) -> str:
    """The key a trace names itself, else its agent's name, else its service's."""
    own = first(span.attributes, sc.LEARNING_KEY, sc.AGENT_NAME, "agent.name", "traceloop.entity.name")
    return (text(own) or text(span.resource.get("service.name")) or "default")[:LONGEST_NAME]


def labels_of(trace: Trace, main: Span) -> dict[str, object]:
    """The labels of a trace's session. `main` is its agent's span."""
    known = trace.root.attributes | main.attributes
    labels = {
        "source": "otlp",
        "trace_id": main.trace_id,
        "spans": len(trace.spans),
        "service": first(main.resource, "service.name"),
        "conversation": first(known, *CONVERSATION_NAMES),
        "user": first(known, *USER_NAMES),
        "tags": listed(known.get("tag.tags")) or None,
        "metadata": parsed(known.get("metadata")),
        "attributes": _unread(known) or None,
        "resource": main.resource or None,
        "evaluations": [event for span in trace.spans for event in _evaluations(span)] or None,
        "other_spans": list(_others(trace)) or None,
    }
    return {name: kept(value) for name, value in labels.items() if value is not None}


def _unread(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if not name.startswith(CONTENT)}


def _evaluations(span: Span) -> Iterator[dict[str, Any]]:
    return (event.attributes for event in span.events if event.name == sc.EVALUATION_EVENT)


def _others(trace: Trace) -> Iterator[dict[str, Any]]:
    """Retrievals, embeddings, memory operations, requests: what is neither a call nor an agent."""
    others = [span for span in trace.spans if trace.kinds[span.span_id] == "other"]
    for span in others[:MOST_SPANS]:
        seconds = (span.end_ns - span.start_ns) / 1e9
        yield {"name": span.name, "seconds": seconds, "failed": span.failed, "attributes": span.attributes}
