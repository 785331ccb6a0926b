"""One door for calls: journal first, then the world, then the record."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_kit import PLACE, MemoryTrace, ask

from atlas.models import Caller, Fence, Journal, ScriptedModel
from atlas.schema import Completion, Effect, Message, ToolCall, ToolSpec
from atlas.schema.errors import (
    AgentError,
    BudgetError,
    ModelBadReply,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    ToolError,
)

CALL = ToolCall(id="c1", name="pay", arguments='{"amount": 1}')


def pay(effect: Effect) -> ToolSpec:
    return ToolSpec(name="pay", effect=effect)


async def test_a_resumed_session_pays_no_call_twice(trace: MemoryTrace) -> None:
    model = ScriptedModel(["one", "two", "three"])
    first = Caller(trace)
    before = [await first.complete(model, ask(text), PLACE) for text in ("a", "a", "b")]
    resumed = Caller(trace, journal=Journal(trace.events))
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    after = [await resumed.complete(model, ask(text), PLACE, on_text=hear) for text in ("a", "a", "b")]
    assert after == before
    assert heard == ["one", "two", "three"]
    assert len(model.requests) == 3
    assert len(trace.events) == 3
    with pytest.raises(ModelRefused):  # a fourth call is a new one
        await resumed.complete(model, ask("a"), PLACE)


async def test_another_model_or_request_is_another_call(trace: MemoryTrace) -> None:
    await Caller(trace).complete(ScriptedModel(["one"], name="scripted:a"), ask("x"), PLACE)
    resumed = Caller(trace, journal=Journal(trace.events))
    other = ScriptedModel(["two", "three"], name="scripted:b")
    assert (await resumed.complete(other, ask("x"), PLACE)).message.content == "two"
    assert (await resumed.complete(other, ask("x", temperature=0.5), PLACE)).message.content == "three"


async def test_a_failure_is_recorded_once_and_tried_again_when_resumed(trace: MemoryTrace) -> None:
    model = ScriptedModel([ModelUnavailable("down"), "up"])
    with pytest.raises(ModelUnavailable):
        await Caller(trace).complete(model, ask(), PLACE)
    assert trace.types == ["model_failed"]
    resumed = Caller(trace, journal=Journal(trace.events))
    assert (await resumed.complete(model, ask(), PLACE)).message.content == "up"


@pytest.mark.parametrize(
    ("completion", "match"),
    [
        (Completion(message=Message(role="assistant", content=" \n")), "empty answer"),
        (Completion(message=Message(role="assistant"), finish_reason="content_filter"), "content filter"),
        (Completion(message=Message(role="assistant"), finish_reason="length"), "limit of tokens"),
    ],
)
async def test_an_answer_nobody_can_use_is_paid_for_once(
    trace: MemoryTrace, completion: Completion, match: str
) -> None:
    model = ScriptedModel([completion])
    with pytest.raises(ModelBadReply, match=match):
        await Caller(trace).complete(model, ask(), PLACE)
    assert trace.types == ["model_called"]
    with pytest.raises(ModelBadReply, match=match):
        await Caller(trace, journal=Journal(trace.events)).complete(model, ask(), PLACE)
    assert len(model.requests) == 1


async def test_text_that_no_store_could_take_is_made_fit(trace: MemoryTrace) -> None:
    model = ScriptedModel(lambda _: Completion(message=Message(role="assistant", content="\ud800ok")))
    completion = await Caller(trace).complete(model, ask("\udfff?"), PLACE)
    assert completion.message.content == "\ufffdok"
    assert model.requests[0].messages[0].content == "\ufffd?"
    resumed = Caller(trace, journal=Journal(trace.events))
    assert await resumed.complete(model, ask("\udfff?"), PLACE) == completion
    assert len(model.requests) == 1


async def test_the_token_budget_ends_the_session(trace: MemoryTrace) -> None:
    caller, model = Caller(trace, max_tokens=5), ScriptedModel(["a long enough answer", "more"])
    await caller.complete(model, ask(), PLACE)
    with pytest.raises(BudgetError, match="token budget"):
        await caller.complete(model, ask(), PLACE)
    resumed = Caller(trace, journal=Journal(trace.events), max_tokens=5)
    await resumed.complete(model, ask(), PLACE)
    with pytest.raises(BudgetError):  # what the first run spent counts
        await resumed.complete(model, ask(), PLACE)


async def test_the_sessions_deadline_bounds_every_call(trace: MemoryTrace) -> None:
    slow = ScriptedModel(["late"], delay_s=10)
    caller = Caller(trace, deadline=time.monotonic() + 0.05)
    with pytest.raises(ModelTimeout):
        await caller.complete(slow, ask(), PLACE, timeout_s=60)
    with pytest.raises(ModelTimeout, match="session's time is spent"):
        caller.remaining_s()


async def test_a_finished_tool_call_is_not_repeated(trace: MemoryTrace) -> None:
    runs: list[str] = []

    async def run(call: ToolCall) -> str:
        runs.append(call.arguments)
        return "paid"

    first = await Caller(trace).tool(run, CALL, pay("external"), PLACE)
    again = await Caller(trace, journal=Journal(trace.events)).tool(run, CALL, pay("external"), PLACE)
    assert (first.output, again) == ("paid", first)
    assert len(runs) == 1
    assert trace.types == ["tool_started", "tool_called"]


@pytest.mark.parametrize(("effect", "runs_again"), [("external", False), ("idempotent", True), ("none", True)])
async def test_a_tool_call_that_was_cut_off(trace: MemoryTrace, effect: Effect, runs_again: bool) -> None:
    started = asyncio.Event()

    async def hang(call: ToolCall) -> str:
        started.set()
        await asyncio.sleep(60)
        return ""

    async def run(call: ToolCall) -> str:
        return "paid"

    task = asyncio.create_task(Caller(trace).tool(hang, CALL, pay(effect), PLACE))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    resumed = Caller(trace, journal=Journal(trace.events))
    use = await resumed.tool(run, CALL, pay(effect), PLACE)
    if runs_again:
        assert (use.output, use.error) == ("paid", None)
    else:
        assert use.error == "pay was interrupted; whether it took effect is unknown"
    second = await resumed.tool(run, CALL, pay(effect), PLACE)  # the model asks once more: its own decision
    assert second.output == "paid"
    third = Caller(trace, journal=Journal(trace.events))  # interrupted again, after both
    assert [await third.tool(run, CALL, pay(effect), PLACE) for _ in range(2)] == [use, second]


async def test_a_failing_tool_is_an_answer(caller: Caller, trace: MemoryTrace) -> None:
    async def fail(call: ToolCall) -> str:
        raise ToolError("no money\ud800")

    async def hang(call: ToolCall) -> str:
        await asyncio.sleep(60)
        return ""

    assert (await caller.tool(fail, CALL, None, PLACE)).error == "no money\ufffd"
    assert (await caller.tool(hang, CALL, None, PLACE, timeout_s=0.01)).error == "pay did not finish in time"
    assert trace.types == ["tool_called", "tool_called"]


async def test_what_is_no_tools_failure_is_not_hidden(caller: Caller) -> None:
    async def fail(call: ToolCall) -> str:
        raise AgentError("stop")

    with pytest.raises(AgentError):
        await caller.tool(fail, CALL, None, PLACE)


@given(st.text("0123456789abcdef<>/ \n", max_size=60), st.integers(0, 5), st.text(max_size=8))
def test_text_cannot_leave_its_fence(text: str, copies: int, session_id: str) -> None:
    fence = Fence(session_id, "verify")
    mark = fence.wrap("x", "").split()[1].rstrip(">")
    wrapped = fence.wrap("work", (mark[:3] + text + mark) * copies)
    assert wrapped.count(mark) == 2
    assert wrapped.endswith(f"\n</work {mark}>")


def test_a_mark_that_overlaps_itself_is_broken_up_too() -> None:
    fence = Fence("s", "p")
    fence._mark = "aaaaaa"
    assert fence.wrap("x", "a" * 23).count("aaaaaa") == 2
