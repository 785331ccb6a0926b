"""The loop of a configuration as a training run plays it: the same seats, roles, lanes and judges as in production."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from atlas.config import AtlasConfig, load_config
from atlas.config.llm import LLMConfig
from atlas.judges import Rewarder
from atlas.lanes import AutoLane
from atlas.models import Caller, HttpPool, OnText
from atlas.models.local import LocalModel
from atlas.roles import Scene, Student, Teacher
from atlas.roles.student import Try
from atlas.runtime.judging import rewarder_of
from atlas.runtime.seats import Models, open_agent, student_of, teacher_of
from atlas.schema import Attempt, Body, Completion, Event, Recalled, Request, Review, Session, Task, now, rebuild
from atlas.schema.errors import ConfigError, ModelBadReply
from atlas.schema.events import Answered, Attempted, SessionStarted
from atlas.train.rollouts import seed_of

NOTHING = Recalled(audience="student", version=0)
FOR_TEACHER = Recalled(audience="teacher", version=0)


class Record:
    """The events of one played session, in memory. Implements `Trace`."""

    def __init__(self, task: Task, session_id: str, before: Sequence[Event] = ()) -> None:
        self._id = session_id
        self.events: list[Event] = list(before) or [
            Event(session_id=session_id, seq=1, at=now(), body=SessionStarted(task=task))
        ]

    @property
    def session_id(self) -> str:
        """See `Trace`."""
        return self._id

    async def record(self, body: Body) -> Event:
        """See `Trace`."""
        event = Event(session_id=self._id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(event)
        return event


class Spoken(NamedTuple):
    """One call of the model that is trained."""

    request: Request
    """What it was asked."""
    completion: Completion
    """What it said."""


class Policy:
    """The model that is trained, as the roles call it: sampled with known seeds, every call remembered."""

    def __init__(self, model: LocalModel, *, temperature: float, max_new_tokens: int) -> None:
        self.model = model
        self.spoken: list[Spoken] = []
        self._temperature = temperature
        self._limit = max_new_tokens
        self._seed = ""

    @property
    def name(self) -> str:
        """See `Model`."""
        return self.model.name

    def begin(self, seed: str) -> None:
        """Forget what was said and cached; what comes now follows from the weights, the prompt and this seed."""
        self._seed, self.spoken = seed, []
        self.model.forget()

    async def complete(self, request: Request, *, timeout_s: float, on_text: OnText | None = None) -> Completion:
        """See `Model`."""
        seed = seed_of(f"{self._seed}/{len(self.spoken)}")
        limit = min(self._limit, request.max_output_tokens or self._limit)
        changes = {"temperature": self._temperature, "seed": seed, "max_output_tokens": limit}
        asked = request.model_copy(update=changes)
        completion = await self.model.complete(asked, timeout_s=timeout_s, on_text=on_text)
        self.spoken.append(Spoken(request, completion))
        return completion

    async def close(self) -> None:
        """See `Model`."""
        await self.model.close()


@dataclass(frozen=True, slots=True)
class Draft:
    """The frozen student's own try at a question, and what it is worth."""

    tried: Try
    """The attempt and the conversation that led to it."""
    value: float
    """Its reward in [0, 1]."""
    events: tuple[Event, ...]
    """What had happened until then."""


@dataclass
class Stage:
    """The rooms of a loop that a rollout needs."""

    student: Student
    teacher: Teacher | None
    rewarder: Rewarder
    models: tuple[Models, ...]

    @classmethod
    def open(cls, config: AtlasConfig, folder: Path, *, policy: Policy, role: str) -> Stage:
        """The loop of a configuration with the trained model in one seat. `folder` is the user's project.

        Raises:
            ConfigError: the configuration names something that is missing, or its agent is no model.
        """
        models, own = Models(config, HttpPool(), folder), Models(config, HttpPool(), folder)
        if role == "student":
            llm = config.llm_of("student")
            if llm is None or config.agent.type not in ("openai", "litellm"):
                raise ConfigError("The student of this loop is no model.", "Train an agent of type openai.")
            own.put(llm, policy)  # In a house of its own: a judge with the same block must not become the policy.
        student = student_of(config, open_agent(config, own, folder, given=None, user_loop=None))
        teacher = teacher_of(config, policy if role == "teacher" else models.seat("teacher"))
        return cls(student, teacher, rewarder_of(config, models, folder), (models, own))

    def forget(self) -> None:
        """Empty the caches of local models, so that what comes does not depend on what was played before."""
        for model in (model for models in self.models for model in models.opened):
            if isinstance(model, LocalModel):
                model.forget()

    async def alone(self, task: Task, session_id: str) -> Record:
        """The student alone, in its lane.

        Raises:
            AtlasError: it failed.
        """
        record = Record(task, session_id)
        played = await AutoLane(self.student).play(_scene(task, record))
        await record.record(Answered(answer=played.answer, accepted=None))
        return record

    async def draft(self, task: Task, session_id: str) -> Draft | None:
        """The student's own try; None where nobody can say what it is worth.

        Raises:
            AtlasError: the student failed.
        """
        record = Record(task, session_id)
        tried = await self.student.answer(_scene(task, record))
        before = tuple(record.events)
        value = await self._worth(record, tried.attempt)
        return None if value is None else Draft(tried, value, before)

    async def review(self, task: Task, draft: Draft) -> Review | None:
        """The teacher's word on a draft; None where it said nothing that can be read.

        Raises:
            AtlasError: the teacher's model failed.
        """
        if self.teacher is None:
            raise ConfigError("This loop has no teacher.", "Give the configuration a teacher.")
        record = Record(task, draft.events[0].session_id, draft.events)
        try:
            return await self.teacher.verify(_scene(task, record), draft.tried.attempt)
        except ModelBadReply:
            return None

    async def taught(self, task: Task, draft: Draft, guidance: str) -> float | None:
        """What the student's next try under guidance is worth; None where nobody can say.

        Raises:
            AtlasError: the student failed.
        """
        record = Record(task, draft.events[0].session_id, draft.events)
        await record.record(Attempted(attempt=draft.tried.attempt))
        again = await self.student.again(_scene(task, record), draft.tried, guidance)
        return await self._worth(record, again.attempt)

    async def _worth(self, record: Record, attempt: Attempt) -> float | None:
        await record.record(Attempted(attempt=attempt))
        await record.record(Answered(answer=attempt.output, accepted=None))
        return await self.reward(record)

    async def reward(self, record: Record) -> float | None:
        """The judges' word on a played session; None where they have none."""
        session: Session = rebuild(record.events)
        return (await self.rewarder.reward(session, Caller(record))).value

    async def close(self) -> None:
        """Give back agent and models."""
        await self.student.agent.close()
        for models in self.models:
            await models.close()


def _scene(task: Task, record: Record) -> Scene:
    return Scene(task, NOTHING, FOR_TEACHER, Caller(record))


def read_loop(path: str | None, base: Path) -> tuple[AtlasConfig, Path]:
    """The configuration of the loop that is played, and its folder.

    Raises:
        ConfigError: none is given, or it is wrong.
    """
    if path is None:
        raise ConfigError("Online rollouts play a loop; none is named.", "Set loop=atlas.yaml, or rollouts=offline.")
    file = base / path
    return load_config(file), file.parent


def local_policy(folder: Path, name: str, *, temperature: float, max_new_tokens: int) -> Policy:
    """The start model in the seat that is trained.

    Raises:
        ConfigError: the checkpoint cannot be served.
    """
    model = LocalModel(folder, name=name, config=LLMConfig(provider="local", model=name))
    return Policy(model, temperature=temperature, max_new_tokens=max_new_tokens)
