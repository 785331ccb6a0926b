"""The student: the user's agent, asked to answer, to plan, to do a step, to try again, to sum up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.agents import Agent, Output, Turn
from atlas.models import Place
from atlas.roles import messages as prompts
from atlas.roles.plans import parse_plan
from atlas.roles.scene import Scene
from atlas.roles.schemas import PLAN
from atlas.schema import ANSWER_STEP, Attempt, Message, Plan, Purpose, Step


@dataclass(frozen=True, slots=True)
class StudentLimits:
    """Bounds of the student's turns."""

    max_plan_tokens: int = 2048
    """Tokens of a plan."""
    max_step_tokens: int = 2048
    """Tokens of a step or an answer."""
    max_synthesis_tokens: int = 2048
    """Tokens of the final answer made from steps."""
    step_timeout_s: float = 900.0
    """Seconds for one turn, tool calls included."""


@dataclass(frozen=True, slots=True)
class StudentPrompts:
    """The static texts in front of the student's conversations."""

    answer: str
    """For a whole task or a step."""
    plan: str
    """For a plan."""
    synthesis: str
    """For the final answer from the steps' results."""

    @classmethod
    def default(cls) -> StudentPrompts:
        """The texts that ship with Atlas."""
        names = ("student", "student_plan", "student_synthesis")
        return cls(*map(prompts.role_prompt, names))


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt with the conversation that led to it, so that a retry can continue it."""

    attempt: Attempt
    """What came out."""
    said: tuple[Message, ...]
    """Everything said so far, the attempt included."""


class Student:
    """Asks the user's agent; writes nothing."""

    def __init__(self, agent: Agent, prompts: StudentPrompts, limits: StudentLimits) -> None:
        self.agent = agent
        self._prompts = prompts
        self._limits = limits

    async def answer(self, scene: Scene) -> Try:
        """The whole task in one go."""
        said = prompts.student_answer(scene.task, scene.student_memory, self._prompts.answer)
        return await self._try(scene, said, _place("answer"), guidance=None)

    async def step(self, scene: Scene, step: Step, results: Sequence[tuple[Step, str]]) -> Try:
        """One step of a plan, given the results it depends on."""
        said = prompts.student_step(scene.task, step, results, scene.student_memory, self._prompts.answer)
        return await self._try(scene, said, _place("step", step.id), guidance=None)

    async def again(self, scene: Scene, last: Try, guidance: str) -> Try:
        """A retry of the same answer or step, with the teacher's guidance."""
        said = prompts.student_retry(last.said, guidance)
        step = last.attempt.step
        purpose: Purpose = "answer" if step == ANSWER_STEP else "step"
        return await self._try(scene, said, _place(purpose, step, last.attempt.number + 1), guidance=guidance)

    async def plan(self, scene: Scene, *, attempt: int = 1, last: Plan | None = None, guidance: str = "") -> Plan:
        """A plan, or a new one after guidance.

        Raises:
            ModelBadReply: the agent did not give an executable plan.
        """
        said = prompts.student_plan(scene.task, scene.student_memory, self._prompts.plan)
        if last is not None:
            said = prompts.student_retry((*said, Message(role="assistant", content=last.model_dump_json())), guidance)
        output = await self._act(scene, said, _place("plan", attempt=attempt), self._limits.max_plan_tokens)
        return parse_plan(output.text)

    async def synthesis(self, scene: Scene, results: Sequence[tuple[Step, str]]) -> str:
        """The final answer from the steps' results."""
        said = prompts.student_synthesis(scene.task, results, self._prompts.synthesis)
        output = await self._act(scene, said, _place("synthesis"), self._limits.max_synthesis_tokens)
        return output.text

    async def _try(self, scene: Scene, said: tuple[Message, ...], place: Place, *, guidance: str | None) -> Try:
        output = await self._act(scene, said, place, self._limits.max_step_tokens)
        attempt = Attempt(
            step=place.step, number=place.attempt, output=output.text, tools=output.tools, guidance=guidance
        )
        return Try(attempt=attempt, said=output.messages)

    async def _act(self, scene: Scene, said: tuple[Message, ...], place: Place, max_tokens: int) -> Output:
        turn = Turn(
            task=scene.task,
            messages=said,
            place=place,
            json_schema=PLAN if place.purpose == "plan" else None,
            tools_allowed=place.purpose in ("answer", "step"),
            max_output_tokens=max_tokens,
            timeout_s=scene.caller.remaining_s(self._limits.step_timeout_s),
        )
        streams = place.purpose in ("answer", "synthesis")
        return await self.agent.act(turn, scene.caller, on_text=scene.on_text if streams else None)


def _place(purpose: Purpose, step: int = ANSWER_STEP, attempt: int = 1) -> Place:
    return Place(actor="student", purpose=purpose, step=step, attempt=attempt)
