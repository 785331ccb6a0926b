"""What the pocket models can do, on held-out tasks, through the same roles and lanes that run in production."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atlas.agents import ModelAgent, Tool
from atlas.config.llm import LLMConfig
from atlas.evaluate.desk import (
    TOOLS,
    Desk,
    DeskTask,
    check,
    guidance_words,
    rule_words,
    today,
)
from atlas.evidence import wilson
from atlas.lanes import AutoLane, CoachLane, PairedLane
from atlas.lanes.base import LanePlay
from atlas.memory.curator import Curator
from atlas.models import Caller
from atlas.models.local import LocalModel
from atlas.roles import (
    Scene,
    Student,
    StudentLimits,
    StudentPrompts,
    Teacher,
    TeacherLimits,
    TeacherPrompts,
)
from atlas.roles import messages as prompts
from atlas.schema import (
    Body,
    Cue,
    Entry,
    Event,
    Recalled,
    Request,
    Reward,
    Session,
    Task,
    Usage,
    new_id,
    now,
    rebuild,
)
from atlas.schema.errors import AtlasError
from atlas.schema.events import ModelCalled, Rewarded, SessionStarted

NOTHING = Recalled(audience="student", version=0)
FOR_TEACHER = Recalled(audience="teacher", version=0)


class Record:
    """A session's events in memory."""

    def __init__(self, task: Task) -> None:
        self.session_id = new_id()
        self.events: list[Event] = [
            Event(
                session_id=self.session_id,
                seq=1,
                at=now(),
                body=SessionStarted(task=task),
            )
        ]

    async def record(self, body: Body) -> Event:
        event = Event(session_id=self.session_id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(event)
        return event


@dataclass
class Counts:
    """Named hits and trials."""

    hits: dict[str, int] = field(default_factory=dict)
    trials: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, hit: bool) -> None:
        """One trial."""
        self.hits[name] = self.hits.get(name, 0) + hit
        self.trials[name] = self.trials.get(name, 0) + 1

    def lines(self) -> list[str]:
        """A table row each: name, share, 95 % interval, number."""
        rows: list[str] = []
        for name, trials in self.trials.items():
            share = wilson(self.hits[name], trials)
            rows.append(f"| {name} | {share.mean:.3f} | {share.low:.3f} to {share.high:.3f} | {trials} |")
        return rows


class Bench:
    """Student and teacher on the desk."""

    def __init__(self, folder: Path, *, temperature: float = 0.0) -> None:
        config = LLMConfig(provider="local", model="pocket", temperature=temperature)
        self.student_model = LocalModel(folder / "pocket-student", name="pocket-student", config=config)
        self.teacher_model = LocalModel(folder / "pocket-teacher", name="pocket-teacher", config=config)
        agent = ModelAgent(self.student_model, tools=[Tool(tool) for tool in TOOLS])
        self.student = Student(agent, StudentPrompts.default(), StudentLimits())
        self.teacher = Teacher(self.teacher_model, TeacherPrompts.default(), TeacherLimits())
        self.curator = Curator(self.teacher_model)
        self.counts = Counts()
        self.usage: dict[str, Usage] = {}
        self.latencies: dict[str, list[float]] = {}

    async def play(self, lane: LanePlay, made: DeskTask, memory: Recalled = NOTHING) -> tuple[Session, float]:
        """One session and what the check says of it."""
        record = Record(made.task)
        scene = Scene(made.task, memory, FOR_TEACHER, Caller(record))
        try:
            await lane.play(scene)
        except AtlasError as error:
            print("lane failed:", error)
        session = rebuild(record.events)
        for event in record.events:
            if isinstance(event.body, ModelCalled):
                name = f"{event.body.actor} {event.body.purpose}"
                self.usage[name] = self.usage.get(name, Usage()) + event.body.completion.usage
                self.latencies.setdefault(name, []).append(event.body.latency_s)
        return session, check(session) if session.attempts else 0.0

    async def learn(self, session: Session, value: float) -> list[str]:
        """The curator's lessons on a session, as playbook lines."""
        record = Record(session.task)
        await record.record(Rewarded(reward=Reward(value=value, source="check")))
        seen = session.model_copy(update={"reward": Reward(value=value, source="check")})
        lessons = await self.curator.lessons(seen, Caller(record))
        return [f"{lesson.cue}: {lesson.action}" for lesson in lessons]


def oracle_memory(made: DeskTask) -> Recalled:
    """The right lessons for a task."""
    entries = tuple(
        Entry(
            id=f"e{number}",
            audience="student",
            cue=Cue(text=wish.operation),
            action=rule_words(wish.desk, wish.operation, today(wish.desk, wish.client, wish.operation)),
            state="active",
        )
        for number, wish in enumerate(made.wishes)
    )
    return Recalled(audience="student", version=1, shown=entries)


async def singles(bench: Bench, tasks: Sequence[DeskTask]) -> None:
    """Tasks with one operation: alone, with lessons, supervised; the teacher's words one by one."""
    alone, paired = (
        AutoLane(bench.student),
        PairedLane(bench.student, bench.teacher, retries=2),
    )
    for made in tasks:
        _, value = await bench.play(alone, made)
        bench.counts.add("student alone", value > 0)
        bench.counts.add(f"student alone, rule {'changed' if made.changed else 'as ever'}", value > 0)
        _, lesson = await bench.play(alone, made, oracle_memory(made))
        bench.counts.add("student with the right lesson in its playbook", lesson > 0)
        session, end = await bench.play(paired, made)
        bench.counts.add("student and teacher, two retries", end > 0)
        if value > 0:
            bench.counts.add("of those right alone, still right", end > 0)
        await words_of_teacher(bench, made, session)
        await words_of_curator(bench, made, session, end)


async def words_of_teacher(bench: Bench, made: DeskTask, session: Session) -> None:
    """Was each review right, and the first guidance?"""
    wish = made.wishes[0]
    right = guidance_words(wish.desk, wish.operation, today(wish.desk, wish.client, wish.operation))
    for attempt, review in zip(session.attempts, session.reviews, strict=False):
        good = check(session.model_copy(update={"attempts": (attempt,)})) > 0
        bench.counts.add("teacher: verdict right", review.accepted == good)
        bench.counts.add(
            f"teacher: verdict right on {'good' if good else 'bad'} work",
            review.accepted == good,
        )
        if attempt.number == 1 and made.changed and not good:
            bench.counts.add("teacher: first guidance right, changed rules", review.guidance == right)
    followed = [attempt for attempt in session.attempts if attempt.guidance == right]
    for attempt in followed[:1]:
        good = check(session.model_copy(update={"attempts": (attempt,)})) > 0
        bench.counts.add("student after right guidance", good)


async def diversity(bench: Bench, tasks: Sequence[DeskTask]) -> None:
    """Four draws of the teacher's first guidance at temperature 1, on changed rules: is one of them right?"""
    for made in tasks:
        session, value = await bench.play(AutoLane(bench.student), made)
        if not made.changed or value > 0:
            continue
        wish = made.wishes[0]
        right = guidance_words(wish.desk, wish.operation, today(wish.desk, wish.client, wish.operation))
        said = prompts.teacher_verify(
            session.id, made.task, None, session.attempts[0], FOR_TEACHER, prompts.role_prompt("teacher_verify")
        )
        draws: list[str] = []
        for seed in range(4):
            request = Request(messages=said, temperature=1.0, seed=seed)
            draws.append((await bench.teacher_model.complete(request, timeout_s=30)).message.content)
        bench.counts.add("teacher at temperature 1: guidance right, one draw", right in draws[0])
        bench.counts.add("teacher at temperature 1: right in one of four draws", any(right in draw for draw in draws))


async def words_of_curator(bench: Bench, made: DeskTask, session: Session, end: float) -> None:
    """Does the curator write the lesson that helped, and none where none was needed?"""
    wish = made.wishes[0]
    right = f"{wish.operation}: {rule_words(wish.desk, wish.operation, today(wish.desk, wish.client, wish.operation))}"
    try:
        lines = await bench.learn(session, end)
    except AtlasError:
        bench.counts.add("curator: reply well formed", False)
        return
    bench.counts.add("curator: reply well formed", True)
    if len(session.attempts) > 1 and end > 0:
        bench.counts.add("curator: lesson right after a guided success", lines == [right])
    elif len(session.attempts) == 1 and end > 0:
        bench.counts.add("curator: silent after a first-try success", not lines)


async def tickets(bench: Bench, tasks: Sequence[DeskTask]) -> None:
    """Tasks with two operations, alone and in the lanes."""
    lanes: dict[str, LanePlay] = {
        "two operations: student alone": AutoLane(bench.student),
        "two operations: paired": PairedLane(bench.student, bench.teacher, retries=2),
        "two operations: coach": CoachLane(bench.student, bench.teacher, retries=2, parallel_steps=4),
    }
    for made in tasks:
        for name, lane in lanes.items():
            session, value = await bench.play(lane, made)
            bench.counts.add(name, value > 0)
            if name.endswith("coach"):
                bench.counts.add(
                    "two operations: planned in two steps",
                    session.plan is not None and len(session.plan.steps) == 2,
                )
        _, value = await bench.play(lanes["two operations: student alone"], made, oracle_memory(made))
        bench.counts.add("two operations: student with the right lessons", value > 0)


async def measure(folder: Path, *, seed: int, n: int, temperature: float = 0.0) -> list[str]:
    """The table of the model card."""
    bench = Bench(folder, temperature=temperature)
    started = time.perf_counter()
    await singles(bench, Desk().tasks(seed, n))
    await diversity(bench, Desk().tasks(seed + 2, n // 2))
    await tickets(bench, Desk().tasks(seed + 1, n // 3, ticket_share=1.0))
    rows = [
        "| measured on held-out tasks | share | 95 % interval | n |",
        "|---|---|---|---|",
        *bench.counts.lines(),
    ]
    rows += [
        "",
        "| call | prompt tokens | of them cached | written | milliseconds |",
        "|---|---|---|---|---|",
    ]
    for name, usage in bench.usage.items():
        times = sorted(bench.latencies[name])
        calls = usage.calls
        rows.append(
            f"| {name} | {usage.prompt_tokens / calls:.0f} | {usage.cached_tokens / calls:.0f} | "
            f"{usage.completion_tokens / calls:.0f} | {times[len(times) // 2] * 1000:.1f} |"
        )
    rows.append(f"\n{time.perf_counter() - started:.0f} s")
    return rows


def main(folder: Path, seed: int, n: int, temperature: float) -> None:
    """Print the table."""
    print("\n".join(asyncio.run(measure(folder, seed=seed, n=n, temperature=temperature))))
