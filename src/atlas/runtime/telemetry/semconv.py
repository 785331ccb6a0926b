"""The names of OpenTelemetry's GenAI semantic conventions, and Atlas's own beside them.

They are those of open-telemetry/semantic-conventions-genai at commit 002c8a6ea1c8a42b14a4527db83b3cabcded610a, all of
which is in development. What is marked older belongs to semantic conventions 1.36 and before: read, never written.
"""

from __future__ import annotations

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"
OUTPUT_TYPE: Final = "gen_ai.output.type"
ERROR_TYPE: Final = "error.type"

CHAT: Final = "chat"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
SEARCH_MEMORY: Final = "search_memory"
UPSERT_MEMORY: Final = "upsert_memory"
MODEL_OPERATIONS: Final = frozenset({CHAT, "text_completion", "generate_content"})
"""Operations that are calls of a model."""
AGENT_OPERATIONS: Final = frozenset({INVOKE_AGENT, "invoke_workflow"})
"""Operations that hold the calls of an agent."""

REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_SEED: Final = "gen_ai.request.seed"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"

INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"

INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_RESULT: Final = "gen_ai.tool.call.result"

EVALUATION_EVENT: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"

MEMORY_STORE: Final = "gen_ai.memory.store.id"
MEMORY_COUNT: Final = "gen_ai.memory.record.count"
MEMORY_RECORDS: Final = "gen_ai.memory.records"

OLD_SYSTEM: Final = "gen_ai.system"
"""Older: the provider."""
OLD_INPUT_TOKENS: Final = "gen_ai.usage.prompt_tokens"
OLD_OUTPUT_TOKENS: Final = "gen_ai.usage.completion_tokens"
OLD_PROMPT: Final = "gen_ai.prompt"
"""Older: a JSON text on the event `gen_ai.content.prompt`, or the prefix of numbered attributes."""
OLD_COMPLETION: Final = "gen_ai.completion"
"""Older: likewise, on `gen_ai.content.completion`."""
OLD_MESSAGE_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
"""Older: one event for each message that was sent, with its role."""
OLD_CHOICE_EVENT: Final = "gen_ai.choice"
"""Older: one event for each message that came back."""

ACTOR: Final = "atlas.actor"
PURPOSE: Final = "atlas.purpose"
STEP: Final = "atlas.step"
ATTEMPT: Final = "atlas.attempt"
COST: Final = "atlas.usage.cost_usd"
EFFECT: Final = "atlas.tool.effect"
LEARNING_KEY: Final = "atlas.learning_key"
TENANT: Final = "atlas.tenant"
POLICY: Final = "atlas.policy"
STATUS: Final = "atlas.status"
ACCEPTED: Final = "atlas.accepted"
LANE: Final = "atlas.route.lane"
ROUTE_SOURCE: Final = "atlas.route.source"
ROUTE_CONFIDENCE: Final = "atlas.route.confidence"
PLAYBOOK_VERSION: Final = "atlas.playbook.version"
UNCERTAINTY: Final = "atlas.evaluation.uncertainty"
REWARD_SOURCE: Final = "atlas.reward.source"
ESCALATED: Final = "atlas.reward.escalated"
DEGRADED_EVENT: Final = "atlas.degraded"
DEGRADED_WHAT: Final = "atlas.degraded.what"
RESUMED: Final = "atlas.resumed"

REVIEW: Final = "teacher.review"
"""`gen_ai.evaluation.name` of the teacher's word."""
REWARD: Final = "atlas.reward"
"""`gen_ai.evaluation.name` of what the ensemble made of the verdicts."""

PROVIDERS: Final = {"gemini": "gcp.gemini", "xai": "x_ai", "mistral": "mistral_ai"}
"""Atlas's name of a provider -> that of the conventions, where they differ."""
