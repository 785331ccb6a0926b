"""Student and teacher."""

from __future__ import annotations

from pydantic import Field

from atlas.config.llm import Block, LLMConfig


class StudentPrompts(Block):
    """Static texts in front of the student's conversations; None takes the ones that ship with Atlas."""

    planner: str | None = None
    """For a plan."""
    executor: str | None = None
    """For a whole task or a step. It follows `agent.system_prompt`, which stands alone when this is None."""
    synthesizer: str | None = None
    """For the final answer from the steps' results."""


class StudentConfig(Block):
    """How the student is asked."""

    max_plan_tokens: int = Field(default=2048, ge=1)
    """Tokens of a plan."""
    max_step_tokens: int = Field(default=2048, ge=1)
    """Tokens of a step, or of an answer in one go."""
    max_synthesis_tokens: int = Field(default=2048, ge=1)
    """Tokens of the final answer made from steps."""
    tool_choice: str = "auto"
    """auto, none, required, or a tool's name."""
    prompts: StudentPrompts = StudentPrompts()
    """Static texts."""
    prompt_guidance: dict[str, str] = Field(default_factory=dict)
    """Text appended to a static text, by its name: planner, executor, synthesizer."""


class TeacherPrompts(Block):
    """Static texts in front of the teacher's conversations; None takes the ones that ship with Atlas."""

    plan_review: str | None = None
    """For a plan."""
    validation: str | None = None
    """For an answer or a step; guidance is part of it."""


class TeacherConfig(Block):
    """How the teacher is asked."""

    llm: LLMConfig | None = None
    """Its model; None takes the agent's."""
    max_review_tokens: int = Field(default=512, ge=1)
    """Tokens of a plan review."""
    plan_cache_seconds: int = Field(default=300, ge=0)
    """Seconds for which an accepted plan of the same task is not reviewed again; 0 reviews every time."""
    guidance_max_tokens: int = Field(default=256, ge=1)
    """Tokens of guidance that reach the student; the rest is cut."""
    validation_max_tokens: int = Field(default=512, ge=1)
    """Tokens of a verification, guidance included."""
    prompts: TeacherPrompts = TeacherPrompts()
    """Static texts."""
