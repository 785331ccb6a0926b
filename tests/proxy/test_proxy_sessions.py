"""Which calls make one session, and when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_kit import assistant, chat, reply, user

from atlas.proxy.grouping import Grouping, Labels
from atlas.schema import Message

Serve = Any
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def response(number: int, *output: dict[str, Any]) -> dict[str, Any]:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": f"answer {number}"}]}
    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
    return {
        "id": f"resp_{number}",
        "object": "response",
        "model": "m",
        "output": list(output) or [said],
        "usage": usage,
    }


async def test_a_header_groups_calls_that_share_nothing(serve: Serve) -> None:
    client = await serve()
    for text in ("Plan.", "Work.", "Sum up."):
        await client.say(user(text), headers={"X_Atlas_Session": "run 7"})
    await client.say(user("Plan."), headers={"X_Atlas_Session": "run 8"})
    first, second = await client.sessions()
    assert (first.total_usage.calls, second.total_usage.calls) == (3, 1)
    assert (first.task.prompt, first.metadata["session"]) == ("Plan.", "run 7")
    assert "X-Atlas-Session" not in client.upstream.headers[0]


async def test_calls_that_begin_a_named_session_at_once_begin_one(serve: Serve) -> None:
    client = await serve()
    calls = (client.say(user(f"Part {n}"), headers={"X_Atlas_Session": "run"}) for n in range(8))
    await asyncio.gather(*calls)
    assert (await client.session()).total_usage.calls == 8


async def test_a_trace_groups_calls(serve: Serve) -> None:
    client = await serve()
    await client.say(user("Plan."), headers={"traceparent": TRACE})
    await client.say(user("Work."), headers={"traceparent": TRACE.replace("b7ad", "c8be")})
    await client.say(user("Else."), headers={"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"})
    assert [one.total_usage.calls for one in await client.sessions()] == [2, 1]


async def test_a_conversation_goes_on_though_each_call_has_a_trace_of_its_own(serve: Serve) -> None:
    client = await serve()
    await client.say(user("Plan."), headers={"traceparent": TRACE})
    more = (user("Plan."), assistant("It is sunny."), user("And now?"))
    await client.say(*more, headers={"traceparent": TRACE.replace("0af7", "1bf8")})
    assert (await client.session()).total_usage.calls == 2


async def test_a_response_groups_those_that_follow_it(serve: Serve) -> None:
    client = await serve()
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    client.upstream.play(reply(response(1, call)), reply(response(2)), reply(response(3)))
    await client.post("/v1/responses", {"model": "m", "input": "Weather?"})
    result = [{"type": "function_call_output", "call_id": "c1", "output": "blue"}]
    await client.post("/v1/responses", {"model": "m", "previous_response_id": "resp_1", "input": result})
    await client.post("/v1/responses", {"model": "m", "previous_response_id": "resp_unknown", "input": "Else?"})
    first, second = await client.sessions()
    assert (first.answer, second.answer) == ("answer 2", "answer 3")
    assert [use.output for attempt in first.attempts for use in attempt.tools] == ["blue"]


async def test_the_same_question_twice_is_two_sessions_that_do_not_mix(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(*(reply(chat(text)) for text in ("red", "blue", "red 2", "blue 2")))
    await client.say(user("Pick."))
    await client.say(user("Pick."))
    await client.say(user("Pick."), assistant("red"), user("More."))
    await client.say(user("Pick."), assistant("blue"), user("More."))
    assert [[one.output for one in each.attempts] for each in await client.sessions()] == [
        ["red", "red 2"],
        ["blue", "blue 2"],
    ]


async def test_the_same_call_again_after_a_failure_is_the_same_session(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(reply({"error": {"message": "overloaded"}}, status=503), reply(chat("Done.")))
    status, _, _ = await client.post("/v1/chat/completions", {"model": "m", "messages": [user("Go.")]})
    assert status == 503
    await client.say(user("Go."), model="m")
    session = await client.session()
    assert (session.status, session.answer) == ("succeeded", "Done.")
    kinds = [event.body.type for event in await client.events()]
    assert kinds.index("model_failed") < kinds.index("model_called")


async def test_a_quiet_session_is_over_and_one_that_uses_tools_is_not(serve: Serve) -> None:
    client = await serve(proxy={"answered_seconds": 0.1, "silent_seconds": 60})
    client.upstream.play(reply(chat("Done.")), reply(chat(None, ("c1", "look", "{}"))))
    await client.say(user("One."))
    await client.say(user("Two."))
    async with asyncio.timeout(5):
        while client.opened.sessions.counts().open_sessions > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    assert client.opened.sessions.counts().open_sessions == 1
    await client.say(user("One."), assistant("Done."), user("More."))
    done = await client.sessions()
    assert [one.task.prompt for one in done] == ["One.", "Two.", "More."]
    assert done[1].answer == "{}"  # it ended with a call, and has answered by it


async def test_a_burst_of_agents_is_recorded_whole(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(reply(chat("Fine.")))

    async def agent(number: int) -> None:
        asked = user(f"Task {number}")
        said = await client.say(asked)
        await client.say(asked, said, user("And?"))

    await asyncio.gather(*map(agent, range(300)))
    done = await client.sessions()
    assert sorted(one.task.prompt for one in done) == sorted(f"Task {number}" for number in range(300))
    assert {one.total_usage.calls for one in done} == {2}
    assert client.opened.sessions.counts().unrecorded == 0


async def test_a_client_names_its_key_and_never_its_tenant(serve: Serve) -> None:
    client = await serve(proxy={"learning_key": "shop"})
    await client.say(user("A"))
    await client.say(user("B"), headers={"X_Atlas_Learning_Key": "desk", "X_Atlas_Tenant": "others"})
    assert [(one.task.learning_key, one.task.tenant) for one in await client.sessions()] == [
        ("shop", "default"),
        ("desk", "default"),
    ]


async def test_more_open_sessions_than_allowed_end_the_oldest(serve: Serve) -> None:
    client = await serve()
    client.opened.sessions._rules = client.opened.sessions._rules.model_copy(update={"most_open": 3})
    for number in range(6):
        await client.say(user(f"Task {number}"))
    assert client.opened.sessions.counts().open_sessions == 3
    assert len(await client.sessions()) == 6


class Kept:
    """A session as grouping sees it."""

    def __init__(self) -> None:
        self.heard: tuple[Message, ...] = ()
        self.said: Message | None = None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_conversations_that_grow_side_by_side_are_told_apart(steps: list[int], chance: Any) -> None:
    """Whatever the order of their calls, each call of a conversation finds its own session and no other."""
    grouping = Grouping()
    kept: dict[int, Kept] = {}
    for turn, which in enumerate(steps):
        place = kept.get(which)
        heard = (*place.heard, place.said, Message(role="user", content=f"more {turn % 2}")) if place else ()
        heard = heard or (Message(role="user", content="begin"),)
        found = grouping.find(Labels(), heard)  # pyright: ignore[reportArgumentType]
        if place is None:
            place = kept[which] = Kept()
        else:
            assert found is place
        place.heard, place.said = heard, Message(role="assistant", content=f"{which} {chance.random()}")  # pyright: ignore
        grouping.keep(place)
    for place in kept.values():
        grouping.forget(place)
    assert (grouping._by_label, dict(grouping._by_conversation), grouping._known_as) == ({}, {}, {})


@pytest.mark.parametrize("name", ["", "x" * 10_000, "\u00e4\u00f6", "a b\tc"])
async def test_any_name_of_a_session_will_do(serve: Serve, name: str) -> None:
    client = await serve()
    await client.say(user("Go."), headers={"X_Atlas_Session": name} if len(name) < 8000 else {})
    assert (await client.session()).answer == "It is sunny."
