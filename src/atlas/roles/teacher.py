"""The verifying teacher: looks for the bug in a plan, a step or an answer, and guides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atlas.models import Model, Place
from atlas.models.structured import ask_json
from atlas.roles import messages as prompts
from atlas.roles.scene import Scene
from atlas.roles.schemas import REVIEW
from atlas.schema import ANSWER_STEP, Attempt, Message, Plan, Purpose, Request, Review, ReviewTarget, Step

CHARS_PER_TOKEN = 4
"""A rough estimate for text whose tokens nobody has counted."""


@dataclass(frozen=True, slots=True)
class TeacherLimits:
    """Bounds of the teacher's turns."""

    max_review_tokens: int = 512
    """Tokens of a plan review."""
    max_verify_tokens: int = 512
    """Tokens of a verification, guidance included."""
    max_guidance_tokens: int = 256
    """Tokens of guidance that reach the student, by estimate; the rest is cut."""


@dataclass(frozen=True, slots=True)
class TeacherPrompts:
    """The static texts in front of the teacher's conversations."""

    verify: str
    """For an answer or a step."""
    plan: str
    """For a plan."""

    @classmethod
    def default(cls) -> TeacherPrompts:
        """The texts that ship with Atlas."""
        return cls(*map(prompts.role_prompt, ("teacher_verify", "teacher_plan")))


class Teacher:
    """Asks the teacher's model; writes nothing. A failing model raises: there is no default review."""

    def __init__(self, model: Model, prompts: TeacherPrompts, limits: TeacherLimits) -> None:
        self.model = model
        self._prompts = prompts
        self._limits = limits

    async def verify(self, scene: Scene, attempt: Attempt, step: Step | None = None) -> Review:
        """The word on an answer, or on a step's result.

        Raises:
            ModelError: the model failed, or did not give a review that can be read.
        """
        said = prompts.teacher_verify(
            scene.session_id, scene.task, step, attempt, scene.teacher_memory, self._prompts.verify
        )
        target: ReviewTarget = "answer" if step is None else "step"
        return await self._review(scene, said, target, attempt, self._limits.max_verify_tokens)

    async def review_plan(self, scene: Scene, plan: Plan, *, attempt: int) -> Review:
        """The word on a plan.

        Raises:
            ModelError: the model failed, or did not give a review that can be read.
        """
        said = prompts.teacher_plan(scene.session_id, scene.task, plan, scene.teacher_memory, self._prompts.plan)
        numbered = Attempt(step=ANSWER_STEP, number=attempt)
        return await self._review(scene, said, "plan", numbered, self._limits.max_review_tokens)

    async def _review(
        self, scene: Scene, said: tuple[Message, ...], target: ReviewTarget, attempt: Attempt, max_tokens: int
    ) -> Review:
        purpose: Purpose = "plan_review" if target == "plan" else "verify"
        return await ask_json(
            scene.caller,
            self.model,
            Request(messages=said, json_schema=REVIEW, max_output_tokens=max_tokens),
            Place(actor="teacher", purpose=purpose, step=attempt.step, attempt=attempt.number),
            parse=lambda reply: _review_of(reply, target, attempt, self._limits.max_guidance_tokens),
        )


def _review_of(reply: dict[str, Any], target: ReviewTarget, attempt: Attempt, max_tokens: int) -> Review:
    guidance = (reply["guidance"] or "").strip()
    if not reply["accepted"] and not guidance:
        raise ValueError("accepted is false but guidance is empty")
    return Review(
        target=target,
        step=attempt.step,
        attempt=attempt.number,
        accepted=reply["accepted"],
        guidance=None if reply["accepted"] else guidance[: max_tokens * CHARS_PER_TOKEN],
    )
