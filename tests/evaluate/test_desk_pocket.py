"""What the shipped pocket models do on held-out tasks, through the real roles and lanes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from atlas.agents import ModelAgent, Tool
from atlas.config.llm import LLMConfig
from atlas.evaluate.desk import TOOLS, Desk, DeskTask, check, rule_words, today
from atlas.lanes import AutoLane, CoachLane, LanePlay, PairedLane
from atlas.models import Caller
from atlas.models.local import POCKET, LocalModel, open_local
from atlas.roles import Scene, Student, StudentLimits, StudentPrompts, Teacher, TeacherLimits, TeacherPrompts
from atlas.schema import Body, Cue, Entry, Event, Recalled, Session, Task, new_id, now, rebuild
from atlas.schema.events import ModelCalled, SessionStarted

NOTHING = Recalled(audience="student", version=0)
TASKS = Desk().tasks(20260, 100)
TICKETS = Desk().tasks(20261, 30, ticket_share=1.0)


def pocket(name: str) -> LocalModel:
    return open_local(LLMConfig(provider="local", model=name), Path())


STUDENT = Student(
    ModelAgent(pocket("pocket-student"), tools=[Tool(tool) for tool in TOOLS]),
    StudentPrompts.default(),
    StudentLimits(),
)
TEACHER = Teacher(pocket("pocket-teacher"), TeacherPrompts.default(), TeacherLimits())


class Record:
    """A session's events in memory."""

    def __init__(self, task: Task) -> None:
        self.session_id = new_id()
        self.events: list[Event] = []
        self._add(SessionStarted(task=task))

    def _add(self, body: Body) -> Event:
        event = Event(session_id=self.session_id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(event)
        return event

    async def record(self, body: Body) -> Event:
        return self._add(body)


async def play(lane: LanePlay, made: DeskTask, memory: Recalled = NOTHING) -> tuple[Session, list[Event]]:
    record = Record(made.task)
    await lane.play(Scene(made.task, memory, Recalled(audience="teacher", version=0), Caller(record)))
    return rebuild(record.events), record.events


def lesson(made: DeskTask) -> Recalled:
    entries = [
        Entry(
            id=f"e{number}",
            audience="student",
            cue=Cue(text=wish.operation),
            action=rule_words(wish.desk, wish.operation, today(wish.desk, wish.client, wish.operation)),
        )
        for number, wish in enumerate(made.wishes)
    ]
    return Recalled(audience="student", version=1, shown=tuple(entries))


async def test_lessons_lift_it_far_above_what_it_solves_alone() -> None:
    """On held-out ids and wordings, where it also miscopies; the bounds are what the shipped pair measures."""
    lane = AutoLane(STUDENT)
    alone = [check((await play(lane, made))[0]) for made in TASKS]
    guided = [check((await play(lane, made, lesson(made)))[0]) for made in TASKS]
    changed = [value for value, made in zip(alone, TASKS, strict=True) if made.changed]
    assert 40 <= sum(alone) <= 65
    assert sum(changed) <= 0.15 * len(changed)
    assert sum(guided) >= 90


async def test_a_teacher_lifts_it_but_not_to_perfection() -> None:
    lane = PairedLane(STUDENT, TEACHER, retries=2)
    played = [(await play(lane, made))[0] for made in TASKS]
    values = [check(session) for session in played]
    right = [(value > 0) == session.reviews[-1].accepted for value, session in zip(values, played, strict=True)]
    assert 78 <= sum(values) <= 97
    assert 78 <= sum(right) <= 99, sum(right)
    assert all(not session.degraded for session in played)


async def test_a_wrong_lesson_is_obeyed() -> None:
    known = [each for each in TASKS[:20] if not each.changed]
    made, *_ = [each for each in known if check((await play(AutoLane(STUDENT), each))[0]) == 1.0]
    wish = made.wishes[0]
    harmful = Entry(
        id="e",
        audience="student",
        cue=Cue(text=wish.operation),
        action=f"for {wish.operation} use move, with order as origin",
    )
    session, _ = await play(AutoLane(STUDENT), made, Recalled(audience="student", version=1, shown=(harmful,)))
    assert check(session) == 0.0
    assert session.attempts[0].tools[0].call.name == "move"


async def test_tool_calls_are_native_and_calls_are_counted() -> None:
    _, events = await play(AutoLane(STUDENT), TASKS[0])
    calls = [event.body for event in events if isinstance(event.body, ModelCalled)]
    assert [call.completion.finish_reason for call in calls] == ["tool_calls", "stop"]
    assert calls[0].completion.message.tool_calls
    assert "<tool_call>" not in calls[0].completion.message.content
    assert calls[1].completion.message.content.startswith("Done, id ")
    usage = calls[1].completion.usage
    assert usage.cost_usd == 0.0
    assert usage.cached_tokens >= calls[0].completion.usage.prompt_tokens
    assert len(calls[1].completion.token_ids) == usage.completion_tokens
    assert calls[1].completion.logprob is not None
    assert calls[1].completion.logprob <= 0


async def test_a_ticket_is_planned_stepped_and_summed_up() -> None:
    lane = CoachLane(STUDENT, TEACHER, retries=2, parallel_steps=4)
    played = [(await play(lane, made))[0] for made in TICKETS]
    plans = [session.plan for session in played if session.plan]
    assert sum(len(plan.steps) == 2 for plan in plans) >= 20
    assert any(plan.steps[1].depends_on for plan in plans if len(plan.steps) == 2)
    alone = sum([check((await play(AutoLane(STUDENT), made))[0]) for made in TICKETS])
    coached = sum(map(check, played))
    assert coached > alone
    assert coached < len(TICKETS)


@pytest.mark.parametrize("name", POCKET)
def test_the_checkpoint_is_a_plain_llama(name: str) -> None:
    folder = Path(str(files("atlas.models").joinpath("pocket", name)))
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["hidden_size"] % config["num_attention_heads"] == 0
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert config["vocab_size"] == len(tokenizer["model"]["vocab"]) + 2
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == config["eos_token_id"]
    assert json.loads((folder / "tokenizer_config.json").read_text())["eos_token"] == "<|end|>"
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 3_000_000


@pytest.mark.parametrize("name", POCKET)
def test_transformers_loads_the_checkpoint(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = str(files("atlas.models").joinpath("pocket", name))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.model_type == "llama"
    assert transformers.AutoTokenizer.from_pretrained(folder).chat_template
