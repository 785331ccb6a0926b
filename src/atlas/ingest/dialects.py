"""What a span means, in the dialects it may be written in: GenAI conventions old and new, OpenInference, OpenLLMetry.

Instrumentations mix them, so each fact is looked for under every name it goes by, the newest GenAI name first.
OpenInference's names are those of Arize-ai/openinference at commit 1fe497f1d9f45a07eee55d97fe185e020560f9c7.
"""

from __future__ import annotations

from typing import Any, Literal

from atlas.ingest.messages import EFFECTS, finish_of, messages_of, tools_of
from atlas.ingest.spans import Span
from atlas.ingest.values import LONGEST_NAME, count, first, listed, nested, number, one_of, parsed, table, text
from atlas.models.text import one_line
from atlas.runtime.telemetry import semconv as sc
from atlas.schema import Effect, Failure, FinishReason, Message, Noun, Request, ToolCall, ToolUse, Usage

Kind = Literal["model", "tool", "agent", "other"]

OPENINFERENCE_KIND = "openinference.span.kind"
OPENINFERENCE_KINDS: dict[str, Kind] = {"LLM": "model", "TOOL": "tool", "AGENT": "agent", "CHAIN": "agent"}
TRACELOOP_KIND = "traceloop.span.kind"
TRACELOOP_KINDS: dict[str, Kind] = {"tool": "tool", "agent": "agent", "workflow": "agent", "task": "agent"}
MODEL_NAMES = (sc.REQUEST_MODEL, "llm.request.model_name", "llm.model_name", sc.RESPONSE_MODEL)
INPUT_VALUES = (sc.INPUT_MESSAGES, "input.value", "traceloop.entity.input")
OUTPUT_VALUES = (sc.OUTPUT_MESSAGES, "output.value", "traceloop.entity.output")
OUR_PROVIDERS = {theirs: ours for ours, theirs in sc.PROVIDERS.items()}


class Heard(Noun):
    """A call of a model, as its span tells it."""

    model: str
    """`provider:name`."""
    request: Request
    """What was sent, as far as it was told."""
    said: Message | None
    """What came back; None where that was not told."""
    finish_reason: FinishReason
    """Why the model stopped."""
    usage: Usage
    """What it consumed."""
    reported: str
    """The model's name as the provider reports it."""


def kind_of(span: Span) -> Kind:
    """What a span is; everything that is no part of an agent's work is `other`."""
    found = span.attributes
    operation = text(found.get(sc.OPERATION))
    if operation:
        if operation in sc.MODEL_OPERATIONS:
            return "model"
        if operation == sc.EXECUTE_TOOL:
            return "tool"
        return "agent" if operation in sc.AGENT_OPERATIONS else "other"
    named = text(found.get(OPENINFERENCE_KIND)).upper()
    if named:
        return OPENINFERENCE_KINDS.get(named, "other")
    if first(found, sc.TOOL_NAME) is not None:
        return "tool"
    if first(found, *MODEL_NAMES) is not None and "embed" not in text(found.get("llm.request.type")):
        return "model"
    return TRACELOOP_KINDS.get(text(found.get(TRACELOOP_KIND)), "other")


def heard(span: Span) -> Heard:
    """The call of a model that a span tells."""
    found = span.attributes
    said = _output(span)
    message = _joined(said)
    reasons = listed(found.get(sc.FINISH_REASONS)) or [found.get("llm.finish_reason") or _finish_within(span)]
    finish = finish_of(reasons[0])
    if message is not None and message.tool_calls and finish in (None, "stop"):
        finish = "tool_calls"
    reported = text(first(found, sc.RESPONSE_MODEL, "llm.response.model_name", *MODEL_NAMES))
    return Heard(
        model=_model_name(span),
        request=_request(span),
        said=message,
        finish_reason=finish or "stop",
        usage=_usage(found),
        reported=reported,
    )


def used(span: Span) -> ToolUse:
    """The call of a tool that a span tells. The call's id is empty where it was not told."""
    found = span.attributes
    name = text(first(found, sc.TOOL_NAME, "tool.name", "tool_call.function.name", "traceloop.entity.name"))
    arguments = first(
        found,
        sc.TOOL_ARGUMENTS,
        "tool_call.function.arguments",
        "input.value",
        "traceloop.entity.input",
        "tool.parameters",
    )
    call_id = text(first(found, sc.TOOL_CALL_ID, "tool_call.id", "tool.id"))
    name = (name or text(span.name).removeprefix(f"{sc.EXECUTE_TOOL} ") or "tool")[:LONGEST_NAME]
    call = ToolCall(id=call_id, name=name, arguments=text(arguments))
    output = text(first(found, sc.TOOL_RESULT, "output.value", "traceloop.entity.output"))
    return ToolUse(call=call, output=output, error=fault(span).message if is_failed(span) else None)


def effect_of(span: Span) -> Effect:
    """What a tool does to the world; one of which nothing is known may do anything."""
    return one_of(span.attributes.get(sc.EFFECT), EFFECTS, "external")


def is_failed(span: Span) -> bool:
    """Whether the operation ended in an error."""
    return span.failed or bool(text(span.attributes.get(sc.ERROR_TYPE)))


def fault(span: Span, *, boundary: str = "agent") -> Failure:
    """The error that an operation ended in, in one line."""
    thrown = next((event.attributes for event in span.events if event.name == "exception"), dict[str, Any]())
    kind = text(first(span.attributes, sc.ERROR_TYPE) or first(thrown, "exception.type")) or "Error"
    message = span.message or text(first(thrown, "exception.message")) or kind
    return Failure(boundary=boundary, kind=one_line(kind.rpartition(".")[2], 100), message=one_line(message))


def asked(span: Span) -> str:
    """What an agent was asked: the user's last words in its input."""
    said = _value(first(span.attributes, *INPUT_VALUES), "user")
    return next((message.content for message in reversed(said) if message.role == "user" and message.content), "")


def answered(span: Span) -> str:
    """What an agent answered: the last words of its output."""
    said = _value(first(span.attributes, *OUTPUT_VALUES), "assistant")
    return next((message.content for message in reversed(said) if message.role == "assistant" and message.content), "")


def _value(value: Any, role: Literal["user", "assistant"]) -> list[Message]:
    """Messages, or a table with a single text in it, as frameworks hand a question and an answer about."""
    body = table(value)
    words = [each for each in body.values() if isinstance(each, str)]
    if body and len(words) == 1 and not {"role", "parts", "content", "messages"} & body.keys():
        return messages_of(words[0], role)
    return messages_of(value, role)


def _model_name(span: Span) -> str:
    found = span.attributes
    provider = text(first(found, sc.PROVIDER, sc.OLD_SYSTEM, "llm.provider", "llm.system")).lower()
    model = text(first(found, *MODEL_NAMES) or span.name)
    return f"{OUR_PROVIDERS.get(provider, provider) or 'unknown'}:{model}"[:LONGEST_NAME]


def _request(span: Span) -> Request:
    found = span.attributes
    known = table(found.get("llm.invocation_parameters")) | found
    seed = number(first(known, sc.REQUEST_SEED, "seed"))
    limits = (sc.REQUEST_MAX_TOKENS, "max_tokens", "max_completion_tokens", "max_output_tokens")
    tools = first(found, sc.TOOL_DEFINITIONS, "llm.tools")
    tools = tools or nested(found, "llm.tools") or nested(found, "llm.request.functions") or known.get("tools")
    return Request(
        messages=tuple(_instructions(found) + _input(span)),
        tools=tools_of(tools),
        max_output_tokens=count(first(known, *limits)) or None,
        temperature=number(first(known, sc.REQUEST_TEMPERATURE, "temperature")),
        top_p=number(first(known, sc.REQUEST_TOP_P, "top_p")),
        seed=int(seed) if seed is not None and abs(seed) < 2**63 else None,
    )


def _instructions(found: dict[str, Any]) -> list[Message]:
    """Parts or a text that precede the conversation."""
    value = parsed(found.get(sc.SYSTEM_INSTRUCTIONS))
    if value is None:
        return []
    return messages_of([{"role": "system", "parts": listed(value)}], "system")


def _input(span: Span) -> list[Message]:
    found = span.attributes
    for value in (
        found.get(sc.INPUT_MESSAGES),
        _in_event(span, sc.INPUT_MESSAGES),
        [
            {"role": role, **event.attributes}
            for event in span.events
            if (role := sc.OLD_MESSAGE_EVENTS.get(event.name)) is not None
        ],
        _in_event(span, sc.OLD_PROMPT),
        found.get(sc.OLD_PROMPT) or nested(found, sc.OLD_PROMPT),
        found.get("llm.input_messages") or nested(found, "llm.input_messages"),
        _prompts(found),
        first(found, "input.value", "traceloop.entity.input"),
    ):
        if messages := messages_of(value, "user"):
            return messages
    return []


def _output(span: Span) -> list[Message]:
    found = span.attributes
    for value in (
        found.get(sc.OUTPUT_MESSAGES),
        _in_event(span, sc.OUTPUT_MESSAGES),
        [_choice(event.attributes) for event in span.events if event.name == sc.OLD_CHOICE_EVENT],
        _in_event(span, sc.OLD_COMPLETION),
        found.get(sc.OLD_COMPLETION) or nested(found, sc.OLD_COMPLETION),
        found.get("llm.output_messages") or nested(found, "llm.output_messages"),
        _completions(found),
        first(found, "output.value", "traceloop.entity.output"),
    ):
        if messages := messages_of(value, "assistant"):
            return messages
    return []


def _choice(attributes: dict[str, Any]) -> dict[str, Any]:
    """An older choice: the message is a table, a JSON text, or spread over the event."""
    inner = table(attributes.get("message")) or attributes
    return {"role": "assistant", **inner}


def _prompts(found: dict[str, Any]) -> list[Any]:
    prompts = (table(each) for each in listed(nested(found, "llm.prompts")))
    return [table(prompt.get("prompt")).get("text") for prompt in prompts]


def _completions(found: dict[str, Any]) -> list[Any]:
    choices = (table(each) for each in listed(nested(found, "llm.choices")))
    return [table(choice.get("completion")).get("text") for choice in choices]


def _in_event(span: Span, name: str) -> Any:
    return next((event.attributes[name] for event in span.events if event.attributes.get(name)), None)


def _finish_within(span: Span) -> Any:
    """Why a model stopped, where only its message or its choice says so."""
    messages = parsed(first(span.attributes, sc.OUTPUT_MESSAGES) or _in_event(span, sc.OUTPUT_MESSAGES))
    numbered = nested(span.attributes, sc.OLD_COMPLETION)
    choices = [event.attributes for event in span.events if event.name == sc.OLD_CHOICE_EVENT]
    for each in (*listed(messages), *listed(numbered), *choices):
        if reason := table(each).get("finish_reason"):
            return reason
    return None


def _joined(said: list[Message]) -> Message | None:
    """One reply: further choices of the same call are left out, items of one reply are put together."""
    own = [message for message in said if message.role == "assistant"]
    if not own:
        return None
    calls = next((message.tool_calls for message in own if message.tool_calls), ())
    words = next((message.content for message in own if message.content), "")
    return Message(role="assistant", content=words, tool_calls=calls)


def _usage(found: dict[str, Any]) -> Usage:
    prompt = count(first(found, sc.INPUT_TOKENS, sc.OLD_INPUT_TOKENS, "llm.token_count.prompt"))
    cached = count(
        first(
            found, sc.CACHED_TOKENS, "gen_ai.usage.cache_read_input_tokens", "llm.token_count.prompt_details.cache_read"
        )
    )
    cost = number(first(found, sc.COST, "llm.cost.total"))
    return Usage(
        calls=1,
        prompt_tokens=prompt,
        cached_tokens=min(cached, prompt),
        completion_tokens=count(first(found, sc.OUTPUT_TOKENS, sc.OLD_OUTPUT_TOKENS, "llm.token_count.completion")),
        cost_usd=cost if cost is not None and cost >= 0 else None,
    )
