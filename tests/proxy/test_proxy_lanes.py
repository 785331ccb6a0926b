"""Playbooks in front of the student behind the proxy, and the teacher behind it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from proxy_kit import assistant, chat, chat_stream, reply, stream, user

from atlas.schema import Cue, Entry, Playbook
from atlas.schema.events import Degraded, ModelCalled

Serve = Any
LESSON = "- weather: Say the temperature too."


def script(folder: Path, *rules: dict[str, Any]) -> dict[str, Any]:
    (folder / "teacher.yaml").write_text(json.dumps(rules))
    return {"llm": {"provider": "scripted", "model": "teacher.yaml"}}


def word(when: str, *, accepted: bool) -> dict[str, Any]:
    return {"when": when, "reply": {"accepted": accepted, "guidance": None if accepted else "Look again."}}


async def learn(client: Any, key: str = "default") -> None:
    """Put a lesson into the store, as if a person had approved it."""
    entry = Entry(
        id="e1", audience="student", cue=Cue(text="weather"), action="Say the temperature too.", state="active"
    )
    await client.store.publish([Playbook(key=key, audience="student", version=1, entries=(entry,))])


QUIET = {"update_enabled": False, "holdout_active": 0.0, "holdout_trial": 0.0}


async def test_the_playbook_stands_behind_the_role_with_the_same_bytes_in_each_call(serve: Serve) -> None:
    client = await serve(learning=QUIET)
    await learn(client)
    role = {"role": "system", "content": "You help."}
    client.upstream.play(reply(chat(None, ("c1", "look", "{}"))), reply(chat("Sunny, 20 degrees.")))
    said = await client.say(role, user("What weather?"))
    await client.say(role, user("What weather?"), said, {"role": "tool", "tool_call_id": "c1", "content": "20"})
    first, second = client.upstream.bodies
    assert first["messages"][0]["content"] == f"You help.\nPlaybook:\n{LESSON}"
    assert second["messages"][: len(first["messages"])] == first["messages"]
    text = [raw.decode().partition("]")[0] for raw in client.upstream.raws]
    assert text[1].startswith(text[0].rpartition("}")[0])
    session = await client.session()
    assert [entry.id for entry in session.student_memory.shown] == ["e1"]
    calls = [event.body for event in await client.events() if isinstance(event.body, ModelCalled)]
    assert [LESSON in call.request.messages[0].content for call in calls] == [True, True]


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("chat/completions", {"messages": [user("weather")]}, ("messages", 0, "content")),
        (
            "chat/completions",
            {"messages": [{"role": "developer", "content": [{"type": "text", "text": "R"}]}, user("weather")]},
            ("messages", 0, "content", 1, "text"),
        ),
        ("responses", {"input": "weather", "instructions": "R"}, ("instructions",)),
        ("messages", {"messages": [user("weather")], "max_tokens": 9, "system": "R"}, ("system",)),
        (
            "messages",
            {
                "messages": [user("weather")],
                "system": [{"type": "text", "text": "R", "cache_control": {"type": "ephemeral"}}],
            },
            ("system", 1, "text"),
        ),
    ],
)
async def test_each_protocol_has_its_place_for_it(serve: Serve, path: str, body: Any, where: tuple[Any, ...]) -> None:
    client = await serve(learning=QUIET)
    await learn(client)
    await client.post(f"/v1/{path}", {"model": "m"} | body)
    (found,) = client.upstream.bodies
    for step in where:
        found = found[step]
    assert found.endswith("Playbook:\n" + LESSON)


async def test_a_session_without_a_lesson_goes_through_untouched(serve: Serve) -> None:
    client = await serve(learning=QUIET)
    await learn(client)
    sent = b'{"model": "m",  "messages": [{"role": "user", "content": "Sports?"}]}'
    await client.post("/v1/chat/completions", sent)
    assert client.upstream.raws == [sent]


async def test_a_fault_the_teacher_finds_never_reaches_the_client(serve: Serve, tmp_path: Path) -> None:
    teacher = script(tmp_path, word("It rains", accepted=False), word("", accepted=True))
    client = await serve(teacher=teacher, proxy={"lanes": "paired"}, checks=[{"type": "regex", "pattern": "sunny"}])
    client.upstream.play(reply(chat("It rains.")), reply(chat("It is sunny.")))
    said = await client.say(user("Weather?"), temperature=0.1)
    assert said["content"] == "It is sunny."
    again = client.upstream.bodies[1]
    assert again["messages"][:2] == [user("Weather?"), assistant("It rains.")]
    assert "Look again." in again["messages"][2]["content"]
    assert again["temperature"] == 0.1
    session = await client.session()
    assert [(one.number, one.output) for one in session.attempts] == [(1, "It rains."), (2, "It is sunny.")]
    assert [review.accepted for review in session.reviews] == [False, True]
    assert (session.route.lane, session.accepted, session.answer) == ("paired", True, "It is sunny.")
    assert session.reward.value == 1.0


async def test_the_verified_answer_is_what_the_session_goes_on_from(serve: Serve, tmp_path: Path) -> None:
    teacher = script(tmp_path, word("It rains", accepted=False), word("", accepted=True))
    client = await serve(teacher=teacher, proxy={"lanes": "paired"})
    client.upstream.play(reply(chat("It rains.")), reply(chat("It is sunny.")), reply(chat("Warm.")))
    said = await client.say(user("Weather?"))
    await client.say(user("Weather?"), said, user("And the air?"))
    session = await client.session()
    assert [one.number for one in session.attempts] == [1, 2, 3]
    assert session.answer == "Warm."


async def test_tools_are_not_held_up_by_the_teacher(serve: Serve, tmp_path: Path) -> None:
    client = await serve(teacher=script(tmp_path, word("", accepted=True)), proxy={"lanes": "paired"})
    client.upstream.play(reply(chat(None, ("c1", "look", "{}"))))
    await client.say(user("Weather?"))
    calls = [event.body for event in await client.events() if isinstance(event.body, ModelCalled)]
    assert [call.actor for call in calls if call.actor in ("student", "teacher")] == ["student"]


async def test_a_stream_is_verified_only_where_it_may_be_held_back(serve: Serve, tmp_path: Path) -> None:
    teacher = script(tmp_path, word("It rains", accepted=False), word("", accepted=True))
    body = {"model": "m", "messages": [user("Weather?")], "stream": True}
    wrong, right = chat_stream("It ", "rains."), chat_stream("It is ", "sunny.")
    client = await serve(teacher=teacher, proxy={"lanes": "paired"})
    client.upstream.play(stream(*wrong))
    assert (await client.post("/v1/chat/completions", body))[1] == b"".join(wrong)
    session = await client.session()
    assert session.route.lane == "auto"
    assert "stream" in session.degraded[0].what
    held = await serve(teacher=teacher, proxy={"lanes": "paired", "buffer_streams": True})
    client.upstream.play(stream(*wrong), stream(*right))
    status, raw, headers = await held.post("/v1/chat/completions", body)
    assert (status, raw, headers["Content-Type"]) == (200, b"".join(right), "text/event-stream")
    assert (await held.session()).answer == "It is sunny."


@pytest.mark.parametrize("path", ["responses", "messages"])
async def test_the_other_protocols_are_verified_too(serve: Serve, tmp_path: Path, path: str) -> None:
    teacher = script(tmp_path, word("It rains", accepted=False), word("", accepted=True))
    client = await serve(teacher=teacher, proxy={"lanes": "paired"})
    part = {"responses": "output_text", "messages": "text"}[path]

    def answer(text: str) -> dict[str, Any]:
        said = [{"type": part, "text": text}]
        if path == "messages":
            return {"type": "message", "role": "assistant", "content": said, "stop_reason": "end_turn", "usage": {}}
        return {"id": "resp_1", "output": [{"type": "message", "role": "assistant", "content": said}], "error": None}

    client.upstream.play(reply(answer("It rains.")), reply(answer("It is sunny.")))
    body = {"messages": [user("Weather?")], "max_tokens": 50} if path == "messages" else {"input": "Weather?"}
    _, raw, _ = await client.post(f"/v1/{path}", {"model": "m"} | body)
    assert json.loads(raw) == answer("It is sunny.")
    assert (await client.session()).accepted is True


async def test_a_teacher_that_is_down_costs_nobody_the_answer(serve: Serve) -> None:
    dead = {"llm": {"provider": "vllm", "model": "t", "api_base": "http://127.0.0.1:9/v1", "retry": {"attempts": 1}}}
    client = await serve(teacher=dead, proxy={"lanes": "paired"})
    assert (await client.say(user("Weather?")))["content"] == "It is sunny."
    session = await client.session()
    assert (session.status, session.accepted) == ("succeeded", None)
    assert any("review" in one.what for one in session.degraded)


async def test_a_retry_that_fails_leaves_the_answer_before_it(serve: Serve, tmp_path: Path) -> None:
    client = await serve(teacher=script(tmp_path, word("", accepted=False)), proxy={"lanes": "paired"})
    client.upstream.play(reply(chat("It rains.")), reply({"error": "down"}, status=500))
    assert (await client.say(user("Weather?")))["content"] == "It rains."
    session = await client.session()
    assert (session.answer, session.accepted) == ("It rains.", False)
    assert any(isinstance(event.body, Degraded) for event in await client.events(session))


async def test_what_failed_is_learnt_from_and_shown_to_the_next_session(serve: Serve, tmp_path: Path) -> None:
    lesson = {"audience": "student", "cue": "weather", "action": "Look out of the window.", "expected_effect": "right"}
    rules = [{"when": "You write lessons", "reply": {"entries": [lesson]}}]
    client = await serve(
        learning=script(tmp_path, *rules) | {"holdout_trial": 0.0, "holdout_active": 0.0},
        checks=[{"type": "regex", "pattern": "sunny"}],
    )
    client.upstream.play(reply(chat("It rains.")), reply(chat("It is sunny.")))
    await client.say(user("What weather?"))
    (first,) = await client.sessions()
    assert first.reward.value == 0.0
    book = await client.store.playbook("default", "default", "student")
    assert [entry.action for entry in book.entries] == ["Look out of the window."]
    entry = book.entries[0].model_copy(update={"state": "active"})
    await client.store.publish([book.model_copy(update={"version": book.version + 1, "entries": (entry,)})])
    client.opened.sessions._shelf.renew(first.task)
    await asyncio.sleep(0.05)
    await client.say(user("What weather?"))
    assert "Look out of the window." in client.upstream.bodies[1]["messages"][0]["content"]
