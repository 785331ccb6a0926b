"""The way of a session, from the task to what was learnt, on an ordinary configuration with scripted models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.config import AtlasConfig
from atlas.runtime import Runtime, open_runtime
from atlas.schema import Event, Session, Task, rebuild
from atlas.schema.errors import AgentError, ConfigError, ModelError
from atlas.schema.events import Answered, Finished, Judged, Learnt, ModelCalled, Rewarded, SessionStarted

Play = Callable[..., Any]


def write_script(folder: Path, rules: list[dict[str, object]], name: str = "script.yaml") -> dict[str, str]:
    (folder / name).write_text(json.dumps(rules))
    return {"provider": "scripted", "model": name}


RULES: list[dict[str, object]] = [
    {"when": "You verify", "reply": {"accepted": True, "guidance": None}},
    {"when": "You review another agent's plan", "reply": {"accepted": True, "guidance": None}},
    {"when": "You split the task", "reply": {"steps": [{"id": 1, "description": "add", "depends_on": []}]}},
    {"when": "You write lessons", "reply": {"entries": []}},
    {"when": "You estimate", "reply": {"mode": "auto", "confidence": 0.5}},
    {"when": "", "reply": "The total is 60."},
]


def config(folder: Path, rules: list[dict[str, object]] = RULES, **changes: object) -> AtlasConfig:
    tree: dict[str, object] = {
        "agent": {"type": "openai", "llm": write_script(folder, rules)},
        "checks": [{"type": "regex", "pattern": "60"}],
        "storage": None,
    }
    return AtlasConfig.model_validate(tree | changes)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    open_ones: list[Runtime] = []

    async def make(settings: AtlasConfig, **options: Any) -> Runtime:
        runtime = await open_runtime(settings, folder=tmp_path, **options)
        open_ones.append(runtime)
        return runtime

    yield make
    for runtime in open_ones:
        await runtime.close()


async def play(runtime: Runtime, prompt: str = "Add 10, 20, 30.", **options: Any) -> Session:
    running = await runtime.start(Task(prompt=prompt), **options)
    return await running.settled()


@pytest.mark.parametrize(("lane", "calls"), [("auto", 1), ("paired", 2), ("coach", 4)])
async def test_each_lane_needs_no_more_calls_than_it_must(opened: Play, tmp_path: Path, lane: str, calls: int) -> None:
    runtime = await opened(config(tmp_path))
    session = await play(runtime, lane=lane)
    assert session.answer == "The total is 60."
    assert session.reward is not None
    assert session.reward.value == 1.0
    events = await runtime.store.events(session.id)
    before = events[: [isinstance(event.body, Answered) for event in events].index(True)]
    assert sum(isinstance(event.body, ModelCalled) for event in before) == calls


async def test_the_record_is_gapless_and_tells_the_whole_session(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path))
    session = await play(runtime, lane="paired")
    events = await runtime.store.events(session.id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0].body, SessionStarted)
    assert rebuild(events) == session
    kinds = [type(event.body) for event in events]
    assert kinds.index(Answered) < kinds.index(Finished) < kinds.index(Judged) < kinds.index(Rewarded)


async def test_the_first_session_is_certified_and_history_earns_auto(opened: Play, tmp_path: Path) -> None:
    adaptive = {"history": {"audit_share": 0.0}}
    runtime = await opened(config(tmp_path, adaptive_teaching=adaptive))
    lanes = [(await play(runtime)).route for _ in range(10)]
    assert lanes[0] is not None
    assert lanes[0].source == "certification"
    assert lanes[-1] is not None
    assert (lanes[-1].lane, lanes[-1].source) == ("auto", "history")


async def test_many_sessions_at_once_do_not_mix(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path))
    done = await asyncio.gather(*(play(runtime, f"Task {n} of 60.", lane="paired") for n in range(50)))
    assert [session.task.prompt for session in done] == [f"Task {n} of 60." for n in range(50)]
    assert len({session.id for session in done}) == 50


async def test_subscribers_see_each_event_once_in_order(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path))
    seen: list[Event] = []
    subscription = runtime.bus.subscribe(seen.append)
    session = await play(runtime, lane="paired")
    subscription.close()
    assert seen == await runtime.store.events(session.id)


async def test_steps_need_not_be_told(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path, orchestration={"emit_intermediate_steps": False}))
    seen: list[str] = []
    subscription = runtime.bus.subscribe(lambda event: seen.append(event.body.type))
    session = await play(runtime, lane="paired")
    subscription.close()
    assert seen == ["session_started", "answered", "finished", "rewarded"]
    assert len(await runtime.store.events(session.id)) > len(seen)


async def test_an_agent_that_raises_ends_the_session_on_record(opened: Play, tmp_path: Path) -> None:
    def broken(prompt: str) -> str:
        raise RuntimeError("the database of the agent is gone")

    settings = AtlasConfig.model_validate({"agent": {"type": "given"}, "storage": None})
    runtime = await opened(settings, agent=broken)
    running = await runtime.start(Task(prompt="x"))
    with pytest.raises(AgentError, match="database of the agent is gone") as caught:
        await running.answered()
    session = await runtime.store.session(caught.value.session_id)
    assert session.status == "failed"
    assert session.failure.boundary == "agent"


async def test_an_agent_that_hangs_is_ended_at_its_timeout(opened: Play, tmp_path: Path) -> None:
    async def hanging(prompt: str) -> str:
        await asyncio.sleep(3600)
        return "never"

    settings = AtlasConfig.model_validate(
        {"agent": {"type": "given"}, "storage": None, "orchestration": {"step_timeout_seconds": 0.2}}
    )
    runtime = await opened(settings, agent=hanging)
    running = await runtime.start(Task(prompt="x"))
    with pytest.raises(AgentError, match=r"0\.2 s"):
        await asyncio.wait_for(running.answered(), 5)


async def test_a_plain_function_gets_the_auto_lane_because_there_is_no_teacher(opened: Play) -> None:
    settings = AtlasConfig.model_validate({"agent": {"type": "given"}, "storage": None})
    runtime = await opened(settings, agent=lambda prompt: prompt.upper())
    session = await play(runtime, "shout")
    assert session.answer == "SHOUT"
    assert "no teacher" in session.route.reason
    assert session.reward.value is None
    assert session.first_try is None


async def test_a_dead_judge_gives_no_reward_and_nothing_is_learnt(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path, checks=[]))
    session = await play(runtime, lane="auto")
    assert session.status == "succeeded"
    assert session.reward.value is None
    events = await runtime.store.events(session.id)
    assert not any(isinstance(event.body, Learnt) for event in events)


async def test_a_token_budget_ends_the_session(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path, orchestration={"max_session_tokens": 1}))
    session = await play(runtime, lane="paired")
    assert session.accepted is None
    assert "token budget" in session.degraded[0].failure.message


@pytest.mark.parametrize("text", ["NUL \x00 here", "lone \ud800 surrogate", "\u202e bidi \u200b zero", "💥" * 5000, ""])
async def test_any_text_goes_through(opened: Play, text: str) -> None:
    settings = AtlasConfig.model_validate({"agent": {"type": "given"}, "storage": None})
    runtime = await opened(settings, agent=lambda prompt: "got " + str(len(prompt)))
    session = await play(runtime, text)
    assert session.answer == f"got {len(text)}"
    assert (await runtime.store.session(session.id)).task.prompt == text


async def test_interrupt_then_resume_pays_no_finished_call_twice(opened: Play, tmp_path: Path) -> None:
    """The teacher hangs; the student's finished call is not made again after the resume."""
    gate = asyncio.Event()
    runtime = await opened(config(tmp_path))
    loop = runtime._loop  # the lane's teacher is made to wait
    teacher = loop._lanes["paired"]._teacher
    verify = teacher.verify

    async def waiting(*args: Any, **kwargs: Any) -> Any:
        await gate.wait()
        return await verify(*args, **kwargs)

    teacher.verify = waiting
    stream = runtime.bus.stream()
    running = await runtime.start(Task(prompt="Add."), lane="paired")
    async for event in stream:
        if isinstance(event.body, ModelCalled):
            break
    await running.interrupt()
    session = await runtime.store.session(running.session_id)
    assert session.status == "interrupted"
    gate.set()
    again = await runtime.resume(running.session_id)
    done = await again.settled()
    assert (done.status, done.answer, done.accepted) == ("succeeded", "The total is 60.", True)
    events = await runtime.store.events(done.id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    student_calls = [e for e in events if isinstance(e.body, ModelCalled) and e.body.actor == "student"]
    assert len(student_calls) == 1
    assert len(done.attempts) == 1


async def test_resuming_what_has_ended_or_never_was_is_refused(opened: Play, tmp_path: Path) -> None:
    runtime = await opened(config(tmp_path))
    session = await play(runtime, lane="auto")
    with pytest.raises(ConfigError, match="has its answer already"):
        await runtime.resume(session.id)
    with pytest.raises(ConfigError, match="There is no session"):
        await runtime.resume("01900000-0000-7000-8000-000000000000")


async def test_a_student_whose_model_is_down_fails_with_the_cause(opened: Play, tmp_path: Path) -> None:
    llm = {"provider": "vllm", "model": "m", "api_base": "http://127.0.0.1:9/v1", "retry": {"attempts": 1}}
    settings = AtlasConfig.model_validate({"agent": {"type": "openai", "llm": llm}, "storage": None})
    runtime = await opened(settings)
    running = await runtime.start(Task(prompt="x"), lane="auto")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9") as caught:
        await running.answered()
    assert (await runtime.store.session(caught.value.session_id)).status == "failed"
