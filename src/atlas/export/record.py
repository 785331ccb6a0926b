"""The published record of one session: what a line of an export holds and what `atlas.training_data` returns."""

from __future__ import annotations

from datetime import datetime
from math import isfinite, isnan
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field

from atlas.schema import Actor, Lane, Noun, Principle, RoleUsage, Status
from atlas.schema.events import Degraded, Failure
from atlas.store import ReviewStatus

RECORD_VERSION = 1
"""Raised when a reader of the last version could misread a record."""


def plain(value: Any) -> Any:
    """A dumped noun with nothing in it that JSON cannot hold: moments and unusual floats become texts."""
    match value:
        case dict():
            return {key: plain(below) for key, below in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [plain(below) for below in cast("list[Any]", value)]
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case float() if not isfinite(value):
            return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case _:
            return value


class Part(Noun):
    """A part of a record. Its fields are attributes, and items as well, for code written against plain dictionaries."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    def __getitem__(self, field: str) -> Any:
        """The field of that name; raises KeyError where there is none."""
        if field not in type(self).model_fields:
            raise KeyError(field)
        return getattr(self, field)

    def get(self, field: str, default: Any = None) -> Any:
        """The field of that name, else the default."""
        return getattr(self, field) if field in type(self).model_fields else default

    def to_dict(self) -> dict[str, Any]:
        """The part as dictionaries and lists that JSON can hold."""
        return plain(self.model_dump())


class RecordedPlanStep(Part):
    """One step of the plan."""

    id: int
    """Unique within the plan; 0 for a task that was not split."""
    description: str
    """What to do."""
    tool: str | None = None
    """Always null: students choose their tools while they work."""
    tool_params: dict[str, Any] | None = None
    """Always null, as `tool`."""
    depends_on: tuple[int, ...] = ()
    """Steps whose results this one needs."""


class RecordedPlan(Part):
    """The last plan; one step numbered 0 for a task that was not split."""

    steps: tuple[RecordedPlanStep, ...]
    """At least one."""


class RecordedJudge(Part):
    """What one judge said."""

    identifier: str
    """`check:<name>`, or the judge's name with model and temperature."""
    score: float
    """0 worst, 1 best."""
    uncertainty: float
    """The judge's own doubt in [0, 1]."""
    rationale: str
    """Why."""
    principles: tuple[Principle, ...]
    """Criteria with their weights."""
    samples: tuple[dict[str, Any], ...] = ()
    """Always empty: every sample of a model is a judge of its own."""
    escalated: bool
    """Whether an arbiter was asked."""
    escalation_reason: str | None
    """Why, if so."""


class RecordedReward(Part):
    """A reward; `score` is null where no judge could tell, which is not 0."""

    score: float | None = None
    """0 worst, 1 best."""
    uncertainty: float | None = None
    """Spread and doubt of the judges in [0, 1]."""
    judges: tuple[RecordedJudge, ...] = ()
    """Every verdict."""
    rationale: str | None = None
    """Why it escalated, or why there is no score."""
    source: Literal["check", "judges", "arbiter", "none"] = "none"
    """Which kind of evidence decided."""
    barred: str | None = None
    """Why nothing may be learnt or trained from it; null where it may."""


class RecordedStep(Part):
    """A step, or the whole task, as it ended: its last attempt."""

    step_id: int
    """The plan's number; 0 for a task that was not split."""
    description: str
    """What was to do."""
    trace: str
    """Tool calls and their results, one a line, in order. What the student said at the end stands in `output`."""
    output: str
    """The student's last words on this step."""
    reward: RecordedReward
    """The reward of the last attempt, where one is known."""
    tool: str | None
    """The first tool that was called."""
    tool_params: dict[str, Any]
    """Its arguments (a payload)."""
    context: dict[str, Any]
    """`prior_results`: by step number, the outputs this step was given (a payload)."""
    validation: dict[str, Any]
    """The teacher's last word: `valid`, `guidance`; empty when nobody reviewed it (a payload)."""
    attempts: int
    """How many tries it took."""
    guidance: tuple[str, ...]
    """Everything the teacher asked to change, in order."""
    metadata: dict[str, Any]
    """`attempt_history` and `tool_calls` (a payload)."""
    artifacts: dict[str, Any] = Field(default_factory=dict)
    """Always empty: what a tool made is in `trace`."""
    deliverable: Any = None
    """Always null: it is `output`."""
    runtime: float | None
    """Milliseconds spent in model and tool calls of this step; null when none was seen."""
    depends_on: tuple[int, ...]
    """Steps whose results it needed."""

    @property
    def attempt_history(self) -> list[dict[str, Any]]:
        """Every attempt with its review and reward."""
        return self.metadata.get("attempt_history", [])


class RecordedAttempt(Part):
    """One try of the student at a step."""

    step: int
    """The step; 0 for the whole task."""
    number: int
    """1 for the first try."""
    guidance: str | None
    """What the teacher had asked for; null for an unguided try."""
    accepted: bool | None
    """The teacher's word; null when nobody reviewed it."""
    value: float | None
    """Its reward in [0, 1], where one is known."""
    output: str | None
    """The student's words; null for the last try of a step, whose words are in `steps`."""
    calls: tuple[int, ...]
    """Ids of the trajectory events that hold its model calls: messages sent and received."""


class RecordedEvent(Part):
    """One thing that happened."""

    id: int
    """1, 2, 3, … within the session."""
    type: str
    """What kind of thing."""
    actor: Actor | None = None
    """On whose behalf a model was called."""
    created_at: datetime
    """When (UTC)."""
    event: dict[str, Any]
    """The event's body. In a file, U+EFFE in a string opens an escape or a reference; see docs/export.md."""


class AdaptiveSummary(Part):
    """Which lane, and why."""

    adaptive_mode: Lane | None = None
    """The lane; null before routing."""
    confidence: float | None = None
    """Estimated probability that the student succeeds alone."""
    certification_run: bool = False
    """Whether it was a first run, made to learn how good the student is."""
    probe: dict[str, Any] | None = None
    """The probe's word, where a probe model decided (a payload)."""
    mode_history: tuple[dict[str, Any], ...] = ()
    """Every lane decision with source and reason (payloads)."""


class RecordedDossier(Part):
    """What triage knew before the run."""

    task: str
    """The task's first line."""
    summary: str
    """The task in one line."""
    risks: tuple[str, ...]
    """What could go wrong."""
    signals: tuple[str, ...]
    """Facts that speak for or against a lane."""
    tags: tuple[str, ...]
    """Labels of the user or of the triage adapter."""


class PlaybookVersions(Part):
    """Which versions the session ran with; 0 is the empty playbook."""

    student: int
    """The student's."""
    teacher: int
    """The teacher's."""


class SessionRecord(Part):
    """One session."""

    record_version: int = RECORD_VERSION
    """Version of this shape."""
    session_id: str
    """UUID version 7."""
    task: str
    """What was asked."""
    final_answer: str
    """The answer; empty where the session has none."""
    status: Status
    """running, succeeded, failed, cancelled or interrupted."""
    review_status: ReviewStatus
    """What a reviewer decided; pending after an import."""
    review_notes: str | None = None
    """The reviewer's note."""
    plan: RecordedPlan
    """How the student meant to solve it."""
    steps: tuple[RecordedStep, ...]
    """What was done, by step."""
    session_metadata: dict[str, Any]
    """The caller's labels, with session_id, learning_key, status, lane and times (a payload)."""
    session_reward: RecordedReward | None
    """The reward; null until judged."""
    student_learning: str | None
    """What the judges want the student to learn, one line each."""
    teacher_learning: str | None
    """What the judges want the teacher to learn."""
    learning_history: dict[str, Any] | None
    """What of the playbooks the session saw: `entries`, `held_out`, `count`, versions (a payload)."""
    adaptive_summary: AdaptiveSummary | None
    """The lane decision."""
    triage_dossier: RecordedDossier | None
    """What triage knew."""
    learning_key: str
    """Groups sessions that learn from each other."""
    tenant: str
    """Owner."""
    lane: Lane | None
    """The lane it ran in."""
    accepted: bool | None
    """Whether the teacher accepted the answer; null when nobody reviewed it."""
    policy: str
    """Which models served."""
    playbooks: PlaybookVersions
    """Which playbooks it ran with."""
    usage: tuple[RoleUsage, ...]
    """Model calls, tokens and cost by role."""
    attempts: tuple[RecordedAttempt, ...]
    """Every try of the student, in order."""
    degraded: tuple[Degraded, ...]
    """What was missing on the way."""
    failure: Failure | None
    """Why it failed."""
    created_at: datetime
    """When it started (UTC)."""
    completed_at: datetime | None
    """When it reached its final state (UTC)."""
    events_left_out: int = 0
    """Older events that the record does not hold; a record with any cannot be imported."""
    trajectory_events: tuple[RecordedEvent, ...] | None = None
    """Everything that happened, in order; null where it was not asked for."""

    @property
    def teacher_notes(self) -> list[str]:
        """Everything the teacher asked to change."""
        return [note for step in self.steps for note in step.guidance]

    @property
    def reward(self) -> float | None:
        """The score; None where no judge could tell."""
        return self.session_reward.score if self.session_reward else None

    @property
    def drift(self) -> dict[str, Any] | None:
        """What drift detection said, where it ran."""
        return self.session_metadata.get("drift")

    @property
    def drift_alert(self) -> Any:
        """Whether drift detection raised an alarm."""
        return self.session_metadata.get("drift_alert")
