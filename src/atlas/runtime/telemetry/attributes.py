"""What an event says, as attributes of spans and events. Content is among them only where capture is on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from atlas.models.text import scrub
from atlas.runtime.telemetry import semconv as sc
from atlas.schema import Audience, Message, Recalled, Request, ToolCall, ToolSpec
from atlas.schema import events as ev

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]


class Narrator:
    """Puts events into the words of the conventions."""

    def __init__(self, agent: str, *, capture: bool) -> None:
        self._agent = agent
        self._capture = capture
        self.title = f"{sc.INVOKE_AGENT} {agent}"
        """Name of a session's span."""

    def session(self, session_id: str, body: ev.SessionStarted | ev.SessionResumed) -> Attributes:
        """Of a session's span, as far as its beginning is known."""
        told: Attributes = {
            sc.OPERATION: sc.INVOKE_AGENT,
            sc.PROVIDER: "atlas",
            sc.AGENT_NAME: self._agent,
            sc.CONVERSATION: session_id,
        }
        if isinstance(body, ev.SessionResumed):
            return told | {sc.RESUMED: True}
        asked = Message(role="user", content=body.task.prompt)
        told |= {sc.LEARNING_KEY: body.task.learning_key, sc.TENANT: body.task.tenant, sc.POLICY: body.policy}
        return told | self._content(sc.INPUT_MESSAGES, messages_payload((asked,)))

    def outcome(self, body: ev.Routed | ev.Answered) -> Attributes:
        """Of a session's span, once its lane or its answer is known."""
        told: Attributes = {}
        match body:
            case ev.Routed(route=route):
                told = {sc.LANE: route.lane, sc.ROUTE_SOURCE: route.source}
                if route.confidence is not None:
                    told[sc.ROUTE_CONFIDENCE] = route.confidence
            case ev.Answered(answer=answer, accepted=accepted):
                if accepted is not None:
                    told[sc.ACCEPTED] = accepted
                said = Message(role="assistant", content=answer)
                told |= self._content(sc.OUTPUT_MESSAGES, messages_payload((said,), finish_reason="stop"))
        return told

    def call_title(self, body: ev.ModelCalled | ev.ModelFailed | ev.ToolCalled) -> str:
        """Name of a call's span."""
        if isinstance(body, ev.ToolCalled):
            return f"{sc.EXECUTE_TOOL} {body.use.call.name}"
        return f"{sc.CHAT} {provider_and_model(body.model)[1]}"

    def model(self, body: ev.ModelCalled | ev.ModelFailed) -> Attributes:
        """Of a model call's span."""
        provider, model = provider_and_model(body.model)
        told: Attributes = {
            sc.OPERATION: sc.CHAT,
            sc.PROVIDER: provider,
            sc.REQUEST_MODEL: model,
            sc.ACTOR: body.actor,
            sc.PURPOSE: body.purpose,
            sc.STEP: body.step,
            sc.ATTEMPT: body.attempt,
        }
        if isinstance(body, ev.ModelFailed):
            return told | {sc.ERROR_TYPE: body.failure.kind}
        usage = body.completion.usage
        told |= {
            sc.RESPONSE_MODEL: body.completion.model or model,
            sc.FINISH_REASONS: [body.completion.finish_reason],
            sc.INPUT_TOKENS: usage.prompt_tokens,
            sc.OUTPUT_TOKENS: usage.completion_tokens,
            sc.CACHED_TOKENS: usage.cached_tokens,
        }
        if usage.cost_usd is not None:
            told[sc.COST] = usage.cost_usd
        return told | _sampling(body.request) | self._conversation(body)

    def tool(self, body: ev.ToolCalled) -> Attributes:
        """Of a tool call's span."""
        told: Attributes = {
            sc.OPERATION: sc.EXECUTE_TOOL,
            sc.TOOL_NAME: body.use.call.name,
            sc.TOOL_TYPE: "function",
            sc.TOOL_CALL_ID: body.use.call.id,
            sc.EFFECT: body.effect,
            sc.STEP: body.step,
            sc.ATTEMPT: body.attempt,
        }
        if self._capture:
            told[sc.TOOL_ARGUMENTS] = body.use.call.arguments
            told |= {sc.TOOL_RESULT: body.use.output} if body.use.error is None else {}
        if body.use.error is not None:
            told[sc.ERROR_TYPE] = "ToolError"
        return told

    def memory(
        self, store_id: str, body: ev.MemoryRecalled | ev.Learnt | ev.LearningFailed
    ) -> Iterator[tuple[str, Attributes]]:
        """Name and attributes of the spans of a recall or of learning."""
        match body:
            case ev.MemoryRecalled(student=student, teacher=teacher):
                for recalled in (student, teacher):
                    yield sc.SEARCH_MEMORY, self._recall(store_id, recalled)
            case ev.Learnt(audience=audience, version=version, added=added, changed=changed):
                yield (
                    sc.UPSERT_MEMORY,
                    {
                        sc.OPERATION: sc.UPSERT_MEMORY,
                        **_store(store_id, audience),
                        sc.MEMORY_COUNT: len(added) + len(changed),
                        sc.PLAYBOOK_VERSION: version,
                    },
                )
            case ev.LearningFailed(failure=failure):
                yield (
                    sc.UPSERT_MEMORY,
                    {sc.OPERATION: sc.UPSERT_MEMORY, sc.ERROR_TYPE: failure.kind},
                )

    def evaluation(self, body: ev.Reviewed | ev.Judged | ev.JudgeFailed | ev.Rewarded) -> tuple[str, Attributes]:
        """Name and attributes of the event that tells a review, a verdict or the reward."""
        told: Attributes
        match body:
            case ev.Reviewed(review=review):
                label = "accepted" if review.accepted else "not accepted"
                told = {sc.EVALUATION_NAME: sc.REVIEW, sc.EVALUATION_LABEL: label}
                told |= {sc.STEP: review.step, sc.ATTEMPT: review.attempt}
                told |= self._explained(review.guidance)
            case ev.Judged(verdict=verdict):
                told = {sc.EVALUATION_NAME: verdict.judge, sc.EVALUATION_SCORE: verdict.score}
                told |= {sc.UNCERTAINTY: verdict.uncertainty} | self._explained(verdict.rationale)
            case ev.JudgeFailed(judge=judge, failure=failure):
                told = {sc.EVALUATION_NAME: judge, sc.ERROR_TYPE: failure.kind}
            case ev.Rewarded(reward=reward):
                told = {sc.EVALUATION_NAME: sc.REWARD, sc.REWARD_SOURCE: reward.source, sc.ESCALATED: reward.escalated}
                if reward.value is not None:
                    told[sc.EVALUATION_SCORE] = reward.value
                if reward.uncertainty is not None:
                    told[sc.UNCERTAINTY] = reward.uncertainty
        return sc.EVALUATION_EVENT, told

    def private(self, text: str) -> str | None:
        """The text, where content may be told."""
        return text if self._capture else None

    def _recall(self, store_id: str, recalled: Recalled) -> Attributes:
        records = [{"id": entry.id, "content": entry.action, "cue": entry.cue.text} for entry in recalled.shown]
        return {
            sc.OPERATION: sc.SEARCH_MEMORY,
            **_store(store_id, recalled.audience),
            sc.MEMORY_COUNT: len(recalled.shown),
            sc.PLAYBOOK_VERSION: recalled.version,
            **self._content(sc.MEMORY_RECORDS, records),
        }

    def _conversation(self, body: ev.ModelCalled) -> Attributes:
        request, completion = body.request, body.completion
        said = messages_payload((completion.message,), finish_reason=completion.finish_reason)
        told = self._content(sc.INPUT_MESSAGES, messages_payload(request.messages))
        told |= self._content(sc.OUTPUT_MESSAGES, said)
        return told | (self._content(sc.TOOL_DEFINITIONS, [_tool(tool) for tool in request.tools]))

    def _explained(self, text: str | None) -> Attributes:
        return {sc.EVALUATION_EXPLANATION: text} if text and self._capture else {}

    def _content(self, name: str, payload: list[dict[str, Any]]) -> Attributes:
        return {name: json.dumps(payload, ensure_ascii=False)} if self._capture and payload else {}


def fit(attributes: Attributes) -> Attributes:
    """The attributes with texts that UTF-8 can carry; one that cannot would cost the whole batch it is sent in."""
    return {name: scrub(value) if isinstance(value, str) else value for name, value in attributes.items()}


def provider_and_model(configured: str) -> tuple[str, str]:
    """`provider:name` in the words of the conventions; an agent that is no model has Atlas as its provider."""
    provider, colon, model = configured.partition(":")
    return (sc.PROVIDERS.get(provider, provider), model) if colon else ("atlas", configured)


def messages_payload(messages: Sequence[Message], *, finish_reason: str | None = None) -> list[dict[str, Any]]:
    """Messages in the shape that the conventions give them."""
    end = {"finish_reason": finish_reason} if finish_reason else {}
    return [{"role": message.role, "parts": _parts(message)} | end for message in messages]


def _store(store_id: str, audience: Audience) -> Attributes:
    """Whose playbook it is; a session that was resumed elsewhere does not know."""
    return {sc.MEMORY_STORE: f"{store_id}/{audience}"} if store_id else {}


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}]
    text = [{"type": "text", "content": message.content}] if message.content or not message.tool_calls else []
    return text + [_tool_call(call) for call in message.tool_calls]


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    told = {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return told | {"effect": tool.effect}


def _sampling(request: Request) -> Attributes:
    given: dict[str, Value | None] = {
        sc.REQUEST_MAX_TOKENS: request.max_output_tokens,
        sc.REQUEST_TEMPERATURE: request.temperature,
        sc.REQUEST_TOP_P: request.top_p,
        sc.REQUEST_SEED: request.seed,
        sc.OUTPUT_TYPE: "json" if request.json_schema is not None else None,
    }
    return {name: value for name, value in given.items() if value is not None}
