"""The user's own function as the agent."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from agents_kit import Answerer, MemoryTrace, retried, turn

from atlas.agents import AgentContext, PythonAgent
from atlas.models import Caller, Journal
from atlas.schema import Attempt, Message
from atlas.schema.errors import AgentError, ConfigError, ModelTimeout
from atlas.schema.events import Attempted


def sync(prompt: str) -> str:
    return prompt.upper()


async def later(prompt: str) -> str:
    await asyncio.sleep(0)
    return prompt.upper()


def pieces(prompt: str) -> Iterator[str]:
    yield from prompt.upper().partition(" ")


async def later_pieces(prompt: str) -> AsyncIterator[str]:
    for piece in prompt.upper().partition(" "):
        await asyncio.sleep(0)
        yield piece


class Callable_:
    async def __call__(self, prompt: str) -> str:
        return prompt.upper()


@pytest.mark.parametrize(
    "function",
    [sync, later, pieces, later_pieces, Callable_(), functools.partial(sync), lambda p: later(p), lambda p: pieces(p)],
)
async def test_every_kind_of_function_answers(caller: Caller, function: Callable[[str], Any]) -> None:
    asked = turn(prompt="six sevens")
    output = await PythonAgent(function).act(asked, caller)
    assert output.text == "SIX SEVENS"
    assert output.messages == (*asked.messages, Message(role="assistant", content="SIX SEVENS"))


@pytest.mark.parametrize("function", [pieces, later_pieces])
async def test_generators_stream(caller: Caller, function: Callable[[str], Any]) -> None:
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    await PythonAgent(function).act(turn(prompt="six sevens"), caller, on_text=hear)
    assert heard == ["SIX", " ", "SEVENS"]


async def test_a_first_try_gets_the_bare_prompt(caller: Caller) -> None:
    asked = turn(Message(role="system", content="You solve the task."), Message(role="user", content="6 x 7"))
    assert (await PythonAgent(lambda prompt: prompt).act(asked, caller)).text == "6 x 7"


async def test_guidance_and_playbook_reach_a_plain_function(caller: Caller) -> None:
    seen = (await PythonAgent(lambda prompt: prompt).act(retried("- even: think again"), caller)).text
    assert seen == ("What is 6 x 7?\n\nA reviewer found a problem: it is even.\n\nPlaybook:\n- even: think again")


async def test_a_second_parameter_gets_the_context(caller: Caller) -> None:
    seen: list[AgentContext] = []

    def agent(prompt: str, ctx: AgentContext, temperature: float = 0.5) -> str:
        seen.append(ctx)
        return "42"

    asked = retried("- even: think again")
    await PythonAgent(agent).act(asked, caller)
    (given,) = seen
    assert (given.task, given.messages, given.attempt) == (asked.task, asked.messages, 2)
    assert given.playbook == "- even: think again"
    assert given.guidance == "A reviewer found a problem: it is even."
    assert given.context == "A reviewer found a problem: it is even.\n\nPlaybook:\n- even: think again"
    assert given.task.payload == {"id": 7}


async def test_a_second_parameter_with_a_default_is_the_users_own(caller: Caller) -> None:
    def agent(prompt: str, temperature: float = 0.5) -> str:
        return str(temperature)

    assert (await PythonAgent(agent).act(turn(), caller)).text == "0.5"


async def test_a_class_is_made_and_asked(caller: Caller) -> None:
    assert (await PythonAgent(Answerer).act(turn(prompt="hi"), caller)).text == "hi!"


@pytest.mark.parametrize(
    ("result", "text"),
    [({"a": "é"}, '{"a": "é"}'), ([1, None], "[1, null]"), (42, "42"), (0.5, "0.5"), ("a\ud800", "a\ufffd")],
)
async def test_data_is_answered_as_json(caller: Caller, result: object, text: str) -> None:
    assert (await PythonAgent(lambda _: result).act(turn(), caller)).text == text


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (None, "returned nothing"),
        ("", "returned an empty answer"),
        (" \n", "returned an empty answer"),
        (b"42", "returned a bytes"),
        (object(), "returned a object"),
        ({"a": object()}, "returned what JSON cannot carry"),
    ],
)
async def test_what_is_no_answer_is_the_agents_failure(caller: Caller, result: object, match: str) -> None:
    def agent(prompt: str) -> object:
        return result

    with pytest.raises(AgentError, match=f"python:agent {match}"):
        await PythonAgent(agent).act(turn(), caller)


async def test_a_generator_of_something_else_is_the_agents_failure(caller: Caller) -> None:
    def agent(prompt: str) -> Iterator[Any]:
        yield "a"
        yield 3

    with pytest.raises(AgentError, match="yielded a int where text was expected"):
        await PythonAgent(agent).act(turn(), caller)


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (ValueError("bad\nthing"), "raised ValueError: bad thing"),
        (TimeoutError("socket"), "raised TimeoutError: socket"),
        (SystemExit(3), "raised RuntimeError: SystemExit: 3"),
        (KeyboardInterrupt(), "raised RuntimeError: KeyboardInterrupt"),
        (StopIteration("x"), "raised RuntimeError: StopIteration"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_what_it_raises_is_named_in_one_line(
    caller: Caller, error: BaseException, match: str, streams: bool
) -> None:
    def agent(prompt: str) -> str:
        raise error

    def generator(prompt: str) -> Iterator[str]:
        yield "a"
        raise error

    if streams and isinstance(error, StopIteration):
        pytest.skip("a generator cannot raise it")
    with pytest.raises(AgentError, match=match) as caught:
        await PythonAgent(generator if streams else agent).act(turn(), caller)
    assert "\n" not in str(caught.value)


async def test_a_coroutine_that_cancels_itself_does_not_cancel_the_session(caller: Caller) -> None:
    async def agent(prompt: str) -> str:
        raise asyncio.CancelledError

    with pytest.raises(AgentError, match="cancelled itself"):
        await PythonAgent(agent).act(turn(), caller)


@pytest.mark.parametrize("kind", ["sync", "async", "generator"])
async def test_one_that_hangs_ends_with_the_turn(caller: Caller, kind: str) -> None:
    release = threading.Event()

    def hang(prompt: str) -> str:
        release.wait(5)
        return "late"

    async def hang_async(prompt: str) -> str:
        await asyncio.sleep(60)
        return ""

    def endless(prompt: str) -> Iterator[str]:
        while not release.wait(0.001):
            yield "."

    function: Any = {"sync": hang, "async": hang_async, "generator": endless}[kind]
    started = time.monotonic()
    with pytest.raises(AgentError, match=r"did not answer within 0\.1 s"):
        await PythonAgent(function).act(turn(timeout_s=0.1), caller)
    assert time.monotonic() - started < 1
    release.set()


async def test_hanging_functions_take_no_worker_from_others(caller: Caller) -> None:
    release = threading.Event()
    hangs = PythonAgent(lambda prompt: str(release.wait(5)))
    waiting = [asyncio.create_task(hangs.act(turn(), caller)) for _ in range(50)]
    await asyncio.sleep(0.05)
    assert (await PythonAgent(sync).act(turn(prompt="a", timeout_s=1), caller)).text == "A"
    release.set()
    assert len(await asyncio.gather(*waiting)) == 50


async def test_the_sessions_end_is_the_turns_end(trace: MemoryTrace) -> None:
    caller = Caller(trace, deadline=time.monotonic() - 1)
    with pytest.raises(ModelTimeout):
        await PythonAgent(sync).act(turn(), caller)


async def test_cancelling_the_session_cancels_the_function(caller: Caller) -> None:
    ended = asyncio.Event()

    async def agent(prompt: str) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ""

    task = asyncio.create_task(PythonAgent(agent).act(turn(), caller))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize("function", [later, later_pieces])
def test_async_code_runs_on_the_loop_it_belongs_to(function: Callable[[str], Any]) -> None:
    async def users_program() -> tuple[str, list[str]]:
        mine = asyncio.get_running_loop()
        threads: list[str] = []
        heard: list[str] = []

        async def hear(text: str) -> None:
            heard.append(text)

        if function is later:

            async def agent(prompt: str) -> str:
                assert asyncio.get_running_loop() is mine
                threads.append(threading.current_thread().name)
                return await later(prompt)
        else:

            async def agent(prompt: str) -> AsyncIterator[str]:
                assert asyncio.get_running_loop() is mine
                async for piece in later_pieces(prompt):
                    yield piece

        async def atlas() -> str:
            assert asyncio.get_running_loop() is not mine
            agent_ = PythonAgent(agent, loop=mine)
            return (await agent_.act(turn(prompt="a b"), Caller(MemoryTrace()), on_text=hear)).text

        return await asyncio.to_thread(lambda: asyncio.run(atlas())), heard

    text, heard = asyncio.run(users_program())
    assert text == "A B"
    assert heard == ([] if function is later else ["A", " ", "B"])


async def test_a_loop_that_has_stopped_is_named(caller: Caller) -> None:
    other = asyncio.new_event_loop()
    with pytest.raises(AgentError, match="event loop it belongs to has stopped"):
        await PythonAgent(later, loop=other).act(turn(), caller)
    other.close()


async def test_a_resumed_session_does_not_ask_it_twice(trace: MemoryTrace) -> None:
    asked: list[str] = []
    agent = PythonAgent(lambda prompt: asked.append(prompt) or "42")
    output = await agent.act(turn(), Caller(trace))
    await trace.record(Attempted(attempt=Attempt(output=output.text)))
    resumed = Caller(trace, journal=Journal(trace.events))
    assert await agent.act(turn(), resumed) == output
    assert len(asked) == 1
    await agent.act(turn(attempt=2), resumed)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "function",
    [lambda: "", lambda a, b, c: "", lambda *, prompt: "", lambda prompt, *, key: ""],
)
def test_a_function_that_takes_no_prompt_is_refused(function: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="cannot be called with a prompt"):
        PythonAgent(function)


def test_a_class_that_cannot_be_made_is_refused() -> None:
    class Needs:
        def __init__(self, key: str) -> None:
            self.key = key

    class Silent:
        pass

    with pytest.raises(ConfigError, match="python:Needs cannot be made: TypeError"):
        PythonAgent(Needs)
    with pytest.raises(ConfigError, match="neither act nor __call__"):
        PythonAgent(Silent)


async def test_its_face() -> None:
    agent = PythonAgent(sync)
    assert (agent.name, agent.plans) == ("python:sync", False)
    assert PythonAgent(sync, name="mine").name == "mine"
    await agent.close()
