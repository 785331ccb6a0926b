"""What judges read in a session and what the ensemble made of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from atlas.schema.base import Noun

Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Principle(Noun):
    """One criterion a judge weighed."""

    name: str
    """Short name."""
    weight: Score
    """Share of the score in [0, 1]."""
    description: str = ""
    """What it asks for."""


class Verdict(Noun):
    """One judge's reading of a session. A judge that failed has none."""

    judge: str
    """Identifier: `check:<name>`, or judge name with model and temperature."""
    score: Score
    """0 worst, 1 best."""
    uncertainty: Score = 0.0
    """The judge's own doubt; 0 for a check that was executed."""
    principles: tuple[Principle, ...] = ()
    """Criteria with their weights."""
    rationale: str = ""
    """Why, in a few sentences."""
    student_note: str | None = None
    """What the student should learn from this session."""
    teacher_note: str | None = None
    """What the teacher should learn from this session."""


class StepReward(Noun):
    """The reward of one attempt at one step."""

    step: int
    """Which step; 0 for the whole task."""
    attempt: int
    """Which attempt."""
    value: Score
    """0 worst, 1 best."""


class Reward(Noun):
    """What the ensemble made of the verdicts."""

    value: float | None = Field(default=None, ge=0.0, le=1.0)
    """Mean score in [0, 1]; None when no judge gave a verdict. None is never read as 0."""
    uncertainty: float | None = Field(default=None, ge=0.0, le=1.0)
    """Spread and doubt of the verdicts behind the value."""
    source: Literal["check", "judges", "arbiter", "none"] = "none"
    """Which kind of evidence decided."""
    verdicts: tuple[Verdict, ...] = ()
    """All verdicts that were given."""
    escalated: bool = False
    """Whether an arbiter was asked."""
    reason: str = ""
    """Why it escalated, or why there is no value."""
    steps: tuple[StepReward, ...] = ()
    """Dense rewards, where known."""
    propensity: float = Field(default=1.0, gt=0, le=1)
    """Probability with which the session was to be judged; below 1 only where the auto lane is sampled."""
    drawn: bool = True
    """False where chance decided that no model judge is asked."""
    barred: str | None = None
    """Why nothing may be learnt from this reward, as where one of its judges falls for attacks; None where it may."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """What the model judges' words were measured against (a payload)."""
