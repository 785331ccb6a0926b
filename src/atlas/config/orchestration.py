"""Retries, time and tokens of a session."""

from __future__ import annotations

from pydantic import Field

from atlas.config.llm import Block
from atlas.config.reference import ImportPath
from atlas.schema import Lane


class OrchestrationConfig(Block):
    """Bounds of a session."""

    max_retries: int = Field(default=1, ge=0, le=100)
    """Tries after the first one, for an answer or a step that the teacher did not accept."""
    step_timeout_seconds: float = Field(default=900.0, gt=0)
    """Seconds for one turn of the student, tool calls included."""
    call_timeout_seconds: float = Field(default=300.0, gt=0)
    """Seconds for one model or tool call."""
    session_timeout_seconds: float = Field(default=1800.0, gt=0)
    """Seconds from the task to the answer."""
    max_session_tokens: int | None = Field(default=None, ge=1)
    """Tokens of all roles together until the answer; None is unbounded."""
    max_parallel_steps: int = Field(default=4, ge=1, le=256)
    """Independent steps of a plan that run at once."""
    step_gate: ImportPath | None = None
    """`pkg.mod:fn`, asked before each tool call and each `ctx.step`: it takes a StepRequest and gives True to let it
    pass, False or a reason to refuse. An agent whose steps cannot be held is refused with it."""
    rim_guidance_tag: str = "rim_feedback"
    """Name under which a judge's feedback is shown to the student."""
    emit_intermediate_steps: bool = True
    """Whether events between question and answer reach subscribers; they are recorded either way."""
    forced_mode: Lane | None = None
    """A lane for every session; None lets triage choose."""
