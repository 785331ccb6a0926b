"""One conversation with one tool call, in every dialect that instrumentations write it in."""

from __future__ import annotations

import json
from typing import Any

from ingest_kit import any_value, event, span

from atlas.schema import Message, ToolCall

WEATHER = ToolCall(id="call_7", name="weather", arguments='{"city": "Paris"}')
ASKED = Message(role="user", content="Is it raining in Paris?")
WANTED = Message(role="assistant", tool_calls=(WEATHER,))
RESULT = Message(role="tool", content="rain, 12 degrees", tool_call_id="call_7")
ANSWER = "Yes, it rains in Paris."
SAID = Message(role="assistant", content=ANSWER)
RULE = Message(role="system", content="You forecast.")


def genai() -> list[dict[str, Any]]:
    """The conventions as they are now: messages as JSON texts on the spans."""
    call = {"type": "tool_call", "id": "call_7", "name": "weather", "arguments": {"city": "Paris"}}
    asked = {"role": "user", "parts": [{"type": "text", "content": ASKED.content}]}
    wanted = {
        "role": "assistant",
        "parts": [{"type": "reasoning", "content": "hm"}, call],
        "finish_reason": "tool_call",
    }
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_7", "response": RESULT.content}]}
    said = {"role": "assistant", "parts": [{"type": "text", "content": ANSWER}], "finish_reason": "stop"}
    shared = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2025",
        "gen_ai.request.temperature": 0.0,
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": RULE.content}]),
        "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "weather", "parameters": {"a": 1}}]),
    }
    first = {"gen_ai.input.messages": json.dumps([asked]), "gen_ai.output.messages": json.dumps([wanted])}
    second = {
        "gen_ai.input.messages": json.dumps([asked, wanted, result]),
        "gen_ai.output.messages": json.dumps([said]),
        "gen_ai.response.finish_reasons": ["stop"],
    }
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.call.id": "call_7",
        "gen_ai.tool.call.arguments": WEATHER.arguments,
        "gen_ai.tool.call.result": RESULT.content,
    }
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "forecaster", "custom.team": "blue"}
    return [
        span(2, shared | first, at=(0.1, 0.3)),
        span(3, tool, at=(0.3, 0.4)),
        span(4, shared | second, at=(0.4, 0.9)),
        span(1, agent),
    ]


def structured() -> list[dict[str, Any]]:
    """The same with structured values in place of JSON texts."""
    spans = genai()
    for each in spans:
        for pair in each["attributes"]:
            raw = pair["value"].get("stringValue", "")
            if raw.startswith("["):
                pair["value"] = any_value(json.loads(raw))
    return spans


def old_events() -> list[dict[str, Any]]:
    """Conventions 1.36: one event for each message."""
    shared = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.prompt_tokens": 20,
        "gen_ai.usage.completion_tokens": 5,
        "gen_ai.usage.cache_read_input_tokens": 8,
    }
    calls = [{"id": "call_7", "type": "function", "function": {"name": "weather", "arguments": WEATHER.arguments}}]
    opening = [
        event("gen_ai.system.message", content=RULE.content),
        event("gen_ai.user.message", content=ASKED.content),
    ]
    wanted = {"role": "assistant", "tool_calls": calls}
    going = [
        event("gen_ai.assistant.message", tool_calls=json.dumps(calls)),
        event("gen_ai.tool.message", content=RESULT.content, id="call_7"),
    ]
    choice = event("gen_ai.choice", index=0, finish_reason="tool_calls", message=json.dumps(wanted))
    last = event("gen_ai.choice", index=0, finish_reason="stop", message={"role": "assistant", "content": ANSWER})
    return [
        span(2, shared, at=(0.1, 0.3), events=[*opening, choice]),
        span(4, shared, at=(0.4, 0.9), events=[*opening, *going, last]),
        span(1, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "forecaster"}),
    ]


def old_content() -> list[dict[str, Any]]:
    """Conventions before that: a JSON text on one event for what was sent and one for what came back."""
    shared = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5", "gen_ai.usage.prompt_tokens": 20}
    shared |= {"gen_ai.usage.completion_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 8}
    calls = [{"id": "call_7", "type": "function", "function": {"name": "weather", "arguments": WEATHER.arguments}}]
    opening = [{"role": "system", "content": RULE.content}, {"role": "user", "content": ASKED.content}]
    wanted = {"role": "assistant", "content": None, "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "call_7", "content": [{"type": "text", "text": RESULT.content}]}

    def told(sent: list[Any], said: Any) -> list[dict[str, Any]]:
        return [
            event("gen_ai.content.prompt", **{"gen_ai.prompt": json.dumps(sent)}),
            event("gen_ai.content.completion", **{"gen_ai.completion": json.dumps([said])}),
        ]

    return [
        span(2, shared, at=(0.1, 0.3), events=told(opening, wanted)),
        span(
            4, shared, at=(0.4, 0.9), events=told([*opening, wanted, result], {"role": "assistant", "content": ANSWER})
        ),
        span(1, {"traceloop.span.kind": "workflow", "traceloop.entity.name": "forecaster"}),
    ]


def openllmetry() -> list[dict[str, Any]]:
    """Numbered attributes, as OpenLLMetry writes them."""
    shared = {"gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-5", "llm.request.type": "chat"}
    shared |= {"gen_ai.usage.prompt_tokens": 20, "gen_ai.usage.completion_tokens": 5}
    shared |= {"gen_ai.usage.cache_read_input_tokens": 8}
    opening = {
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": RULE.content,
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": ASKED.content,
    }
    going = {
        "gen_ai.prompt.2.role": "assistant",
        "gen_ai.prompt.2.tool_calls.0.id": "call_7",
        "gen_ai.prompt.2.tool_calls.0.name": "weather",
        "gen_ai.prompt.2.tool_calls.0.arguments": WEATHER.arguments,
        "gen_ai.prompt.3.role": "tool",
        "gen_ai.prompt.3.content": RESULT.content,
        "gen_ai.prompt.3.tool_call_id": "call_7",
    }
    wanted = {
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.tool_calls.0.id": "call_7",
        "gen_ai.completion.0.tool_calls.0.name": "weather",
        "gen_ai.completion.0.tool_calls.0.arguments": WEATHER.arguments,
    }
    said = {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": ANSWER}
    said["gen_ai.completion.0.finish_reason"] = "stop"
    tool = {"traceloop.span.kind": "tool", "traceloop.entity.name": "weather"}
    tool |= {"traceloop.entity.input": WEATHER.arguments, "traceloop.entity.output": RESULT.content}
    return [
        span(2, shared | opening | wanted, at=(0.1, 0.3)),
        span(3, tool, at=(0.3, 0.4)),
        span(4, shared | opening | going | said, at=(0.4, 0.9)),
        span(1, {"traceloop.span.kind": "agent", "traceloop.entity.name": "forecaster"}),
    ]


def openinference() -> list[dict[str, Any]]:
    """OpenInference: everything flat, each message at a number."""

    def message(prefix: str, role: str, content: str | None = None, call_id: str | None = None) -> dict[str, Any]:
        told = {f"{prefix}.message.role": role}
        told |= {f"{prefix}.message.content": content} if content else {}
        return told | ({f"{prefix}.message.tool_call_id": call_id} if call_id else {})

    def call(prefix: str) -> dict[str, Any]:
        at = f"{prefix}.message.tool_calls.0.tool_call"
        named = {f"{at}.id": "call_7", f"{at}.function.name": "weather"}
        return {f"{prefix}.message.role": "assistant", **named, f"{at}.function.arguments": WEATHER.arguments}

    shared = {
        "openinference.span.kind": "LLM",
        "llm.provider": "openai",
        "llm.model_name": "gpt-5",
        "llm.token_count.prompt": 20,
        "llm.token_count.prompt_details.cache_read": 8,
        "llm.token_count.completion": 5,
        "llm.invocation_parameters": json.dumps({"temperature": 0.0, "max_tokens": None}),
        "llm.tools.0.tool.json_schema": json.dumps(
            {"type": "function", "function": {"name": "weather", "parameters": {"a": 1}}}
        ),
    }
    opening = message("llm.input_messages.0", "system", RULE.content)
    opening |= {
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.contents.0.message_content.type": "text",
        "llm.input_messages.1.message.contents.0.message_content.text": ASKED.content,
    }
    going = call("llm.input_messages.2") | message("llm.input_messages.3", "tool", RESULT.content, "call_7")
    tool = {
        "openinference.span.kind": "TOOL",
        "tool.name": "weather",
        "input.value": WEATHER.arguments,
        "output.value": RESULT.content,
    }
    agent = {"openinference.span.kind": "AGENT", "agent.name": "forecaster", "session.id": "s-1"}
    agent |= {"input.value": json.dumps({"question": ASKED.content}), "output.value": ANSWER}
    return [
        span(2, shared | opening | call("llm.output_messages.0"), at=(0.1, 0.3)),
        span(3, tool, at=(0.3, 0.4)),
        span(4, shared | opening | going | message("llm.output_messages.0", "assistant", ANSWER), at=(0.4, 0.9)),
        span(1, agent),
    ]


DIALECTS = [genai, structured, old_events, old_content, openllmetry, openinference]
