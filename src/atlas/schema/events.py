"""One thing that happened in a session. A session is rebuilt from its events alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from atlas.schema.base import Noun
from atlas.schema.chat import Completion, Effect, Request, ToolCall
from atlas.schema.errors import AtlasError
from atlas.schema.judgement import Reward, Score, Verdict
from atlas.schema.memory import Recalled
from atlas.schema.task import Dossier, Lane, Route, Task
from atlas.schema.work import Attempt, Plan, Review, ToolUse

Actor = Literal["student", "teacher", "judge", "arbiter", "probe", "curator", "control"]
"""`control` is everything that is asked a second time to measure what a lesson changes."""
Purpose = Literal[
    "plan", "plan_review", "step", "answer", "verify", "synthesis", "judge", "arbiter", "probe", "learn", "control"
]
Status = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]


class Failure(Noun):
    """A failure as it is recorded: once, named by the boundary it crossed."""

    boundary: str
    """config, model, agent, tool, judge, store, budget."""
    kind: str
    """The error's class name."""
    message: str
    """One line, free of secrets."""

    @classmethod
    def of(cls, error: AtlasError) -> Failure:
        """The record of an error."""
        return cls(boundary=error.boundary, kind=type(error).__name__, message=str(error))


class SessionStarted(Noun):
    """A task entered the loop."""

    type: Literal["session_started"] = "session_started"
    task: Task
    """What was asked."""
    policy: str = ""
    """Which models serve, as `student=…;teacher=…`."""
    forced: Lane | None = None
    """The lane the caller asked for."""
    metadata: dict[str, object] = Field(default_factory=dict)
    """The caller's own labels (a payload)."""


class SessionResumed(Noun):
    """An interrupted session continues; finished calls are taken from the journal."""

    type: Literal["session_resumed"] = "session_resumed"
    finished_calls: int = 0
    """Model and tool calls that will not be paid again."""
    lane: Lane | None = None
    """The lane it was in; None before routing."""


class MemoryRecalled(Noun):
    """Which playbook entries this session sees."""

    type: Literal["memory_recalled"] = "memory_recalled"
    student: Recalled
    """For the student."""
    teacher: Recalled
    """For the teacher."""


class Triaged(Noun):
    """Triage wrote its dossier."""

    type: Literal["triaged"] = "triaged"
    dossier: Dossier
    """What it says."""


class Routed(Noun):
    """A lane was chosen."""

    type: Literal["routed"] = "routed"
    route: Route
    """Which, and why."""


class ModelCalled(Noun):
    """A model answered. The journal of a resumed session is made of these."""

    type: Literal["model_called"] = "model_called"
    actor: Actor
    """On whose behalf."""
    purpose: Purpose
    """What for."""
    step: int = 0
    """Which step; 0 for the whole task."""
    attempt: int = 1
    """Which attempt."""
    model: str
    """Configured model, `provider:name`."""
    request_hash: str
    """Content hash over model and request; the journal's key."""
    request: Request
    """Exactly what was sent."""
    completion: Completion
    """Exactly what came back."""
    latency_s: float
    """Wall-clock seconds from sending to the last byte, retries included."""


class ModelFailed(Noun):
    """A model call failed for good."""

    type: Literal["model_failed"] = "model_failed"
    actor: Actor
    purpose: Purpose
    step: int = 0
    attempt: int = 1
    model: str
    request_hash: str = ""
    """Content hash over model and request."""
    failure: Failure
    latency_s: float


class ToolStarted(Noun):
    """A tool that does something in the world is about to run; without this, a crash could make it run twice."""

    type: Literal["tool_started"] = "tool_started"
    step: int = 0
    attempt: int = 1
    call: ToolCall
    """The call as the model wrote it."""


class ToolCalled(Noun):
    """A tool ran."""

    type: Literal["tool_called"] = "tool_called"
    step: int = 0
    attempt: int = 1
    use: ToolUse
    """The call and its result."""
    effect: Effect
    """What calling it again would do."""
    latency_s: float


class Planned(Noun):
    """The student made a plan, or made it anew after guidance."""

    type: Literal["planned"] = "planned"
    plan: Plan
    attempt: int = 1


class Attempted(Noun):
    """The student finished one try."""

    type: Literal["attempted"] = "attempted"
    attempt: Attempt


class Reviewed(Noun):
    """The teacher gave its word."""

    type: Literal["reviewed"] = "reviewed"
    review: Review


class Degraded(Noun):
    """Something the lane needs is missing; it goes on with less, and says so."""

    type: Literal["degraded"] = "degraded"
    what: str
    """What is missing, in a few words."""
    failure: Failure


class Answered(Noun):
    """The caller has the answer."""

    type: Literal["answered"] = "answered"
    answer: str
    """The final answer."""
    accepted: bool | None = None
    """Whether the teacher accepted it; None when nobody reviewed it."""


class Judged(Noun):
    """A judge gave a verdict."""

    type: Literal["judged"] = "judged"
    verdict: Verdict


class JudgeFailed(Noun):
    """A judge gave no verdict. There is no score."""

    type: Literal["judge_failed"] = "judge_failed"
    judge: str
    failure: Failure


class Rewarded(Noun):
    """The ensemble made its mind up."""

    type: Literal["rewarded"] = "rewarded"
    reward: Reward


class Compared(Noun):
    """The task was done once more: with one lesson the other way round, or with another version of the playbook."""

    type: Literal["compared"] = "compared"
    audience: Literal["student", "teacher"]
    """Whose lesson."""
    entry_id: str = ""
    """Which lesson; empty where versions were compared."""
    shown: bool = True
    """Whether the session itself saw it; the second time was the other way round."""
    against: int | None = None
    """The version that the second time ran with, where versions were compared."""
    outcome: Score
    """What the second time says about the lesson's reader, as `memory.outcome` reads a session."""
    served: Score | None = None
    """What the session's own first try says when it is read as the second time was; None: what the session says."""


class Learnt(Noun):
    """A playbook got a new version because of this session."""

    type: Literal["learnt"] = "learnt"
    audience: Literal["student", "teacher"]
    version: int
    """The new version."""
    added: tuple[str, ...] = ()
    """Entry ids."""
    changed: tuple[str, ...] = ()
    """Entry ids whose state changed, as `id:state`."""
    rolled_back: str = ""
    """Why lessons were withdrawn together; empty where none were."""


class LearningFailed(Noun):
    """Nothing was learnt because a part failed."""

    type: Literal["learning_failed"] = "learning_failed"
    failure: Failure


class Finished(Noun):
    """The session reached a final state; judging and learning may still follow."""

    type: Literal["finished"] = "finished"
    status: Status
    failure: Failure | None = None


Body = Annotated[
    SessionStarted
    | SessionResumed
    | MemoryRecalled
    | Triaged
    | Routed
    | ModelCalled
    | ModelFailed
    | ToolStarted
    | ToolCalled
    | Planned
    | Attempted
    | Reviewed
    | Degraded
    | Answered
    | Judged
    | JudgeFailed
    | Rewarded
    | Compared
    | Learnt
    | LearningFailed
    | Finished,
    Field(discriminator="type"),
]


class Event(Noun):
    """A body with its place in the session."""

    session_id: str
    """UUID version 7 of the session."""
    seq: int
    """1, 2, 3, … without a gap within the session."""
    at: datetime
    """When it happened (UTC)."""
    body: Body
    """What happened."""
