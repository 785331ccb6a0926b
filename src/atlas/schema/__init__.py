"""The nouns of the house: one schema for runtime and training, frozen, without I/O."""

from atlas.schema.base import Noun, content_hash, new_id, now
from atlas.schema.chat import Completion, Effect, FinishReason, Message, Request, ToolCall, ToolSpec, Usage
from atlas.schema.events import Actor, Body, Event, Failure, Purpose, Status
from atlas.schema.judgement import Principle, Reward, Score, StepReward, Verdict
from atlas.schema.memory import (
    Audience,
    Background,
    Cue,
    Entry,
    EntryState,
    Evidence,
    Outcome,
    Playbook,
    Predicate,
    Provenance,
    Recalled,
)
from atlas.schema.policy import Policy, PolicyRole, PolicyState
from atlas.schema.session import RoleUsage, Session, rebuild
from atlas.schema.task import LANES, Dossier, Lane, Route, Task
from atlas.schema.trace import Trace
from atlas.schema.work import ANSWER_STEP, Attempt, Plan, Review, ReviewTarget, Step, ToolUse

__all__ = [
    "ANSWER_STEP",
    "LANES",
    "Actor",
    "Attempt",
    "Audience",
    "Background",
    "Body",
    "Completion",
    "Cue",
    "Dossier",
    "Effect",
    "Entry",
    "EntryState",
    "Event",
    "Evidence",
    "Failure",
    "FinishReason",
    "Lane",
    "Message",
    "Noun",
    "Outcome",
    "Plan",
    "Playbook",
    "Policy",
    "PolicyRole",
    "PolicyState",
    "Predicate",
    "Principle",
    "Provenance",
    "Purpose",
    "Recalled",
    "Request",
    "Review",
    "ReviewTarget",
    "Reward",
    "RoleUsage",
    "Route",
    "Score",
    "Session",
    "Status",
    "Step",
    "StepReward",
    "Task",
    "ToolCall",
    "ToolSpec",
    "ToolUse",
    "Trace",
    "Usage",
    "Verdict",
    "content_hash",
    "new_id",
    "now",
    "rebuild",
]
