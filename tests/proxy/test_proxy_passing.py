"""What a client gets through the proxy is what the upstream said, byte for byte, and what is recorded is the same."""

from __future__ import annotations

import json
from typing import Any

from proxy_kit import assistant, chat, chat_stream, reply, stream, user

from atlas.schema.events import ModelCalled, ToolCalled

Serve = Any
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


async def test_a_call_becomes_a_session(serve: Serve) -> None:
    client = await serve()
    said = await client.say(user("How is the weather?"), temperature=0.5, max_tokens=100)
    assert said == chat()["choices"][0]["message"]
    session = await client.session()
    assert (session.task.prompt, session.answer, session.status) == ("How is the weather?", "It is sunny.", "succeeded")
    assert session.route.lane == "auto"
    assert session.total_usage.tokens == 18
    assert session.policy == "student=openai:gpt-x"
    (call,) = [event.body for event in await client.events() if isinstance(event.body, ModelCalled)]
    assert (call.request.temperature, call.request.max_output_tokens, call.completion.model) == (0.5, 100, "served")
    assert client.opened.sessions.counts().recorded == 1


async def test_bodies_go_through_unchanged_both_ways(serve: Serve) -> None:
    client = await serve()
    sent = b'{ "model":"m", "messages" : [{"role":"user","content":"h\\u00e9"}],  "unknown": 1e400 , "n":1.0}'
    said = json.dumps(chat("h\u00e9", other=[1.0, {}]), indent=3)
    client.upstream.play(reply(said, x_request_id="r1"))
    status, raw, headers = await client.post("/v1/chat/completions", sent, X_Client="c")
    assert (status, raw.decode()) == (200, said)
    assert client.upstream.raws == [sent]
    assert headers["x-request-id"] == "r1"
    assert client.upstream.headers[0]["X-Client"] == "c"
    assert (await client.session()).answer == "h\u00e9"


async def test_streams_go_through_byte_for_byte(serve: Serve) -> None:
    client = await serve()
    pieces = chat_stream("It ", "is ", "sun", "ny.")
    client.upstream.play(stream(*pieces, pause_s=0.01))
    status, raw, headers = await client.post(
        "/v1/chat/completions", {"model": "m", "messages": [user("Hi")], "stream": True}
    )
    assert (status, raw) == (200, b"".join(pieces))
    assert headers["Content-Type"] == "text/event-stream"
    session = await client.session()
    assert session.answer == "It is sunny."
    assert headers["X-Atlas-Session"] == session.id


async def test_tools_between_calls_belong_to_the_session(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(reply(chat(None, ("c1", "look", '{"at": "window"}'))), reply(chat("Sunny.")))
    first = await client.say(user("Weather?"), tools=TOOLS)
    result = {"role": "tool", "tool_call_id": "c1", "content": "blue sky"}
    await client.say(user("Weather?"), first, result, tools=TOOLS)
    session = await client.session()
    assert session.answer == "Sunny."
    (attempt,) = session.attempts
    assert [(use.call.name, use.output) for use in attempt.tools] == [("look", "blue sky")]
    kinds = [type(event.body) for event in await client.events()]
    assert kinds.count(ModelCalled) == 2
    assert kinds.count(ToolCalled) == 1


async def test_a_follow_up_is_the_next_attempt_of_the_same_session(serve: Serve) -> None:
    client = await serve()
    client.upstream.play(reply(chat("Four.")), reply(chat("Five.")))
    await client.say(user("2 + 3?"))
    await client.say(user("2 + 3?"), assistant("Four."), user("Count again."))
    session = await client.session()
    assert session.task.prompt == "2 + 3?"
    assert [(one.number, one.output, one.guidance) for one in session.attempts] == [
        (1, "Four.", None),
        (2, "Five.", "Count again."),
    ]
    assert session.answer == "Five."


async def test_other_paths_are_passed_on_and_not_recorded(serve: Serve) -> None:
    client = await serve()
    for path, body in (("/v1/embeddings", {"input": "a"}), ("/v1/audio/speech?x=1", {"input": "b"})):
        client.upstream.play(reply({"data": [path]}))
        status, raw, _ = await client.post(path, body)
        assert (status, json.loads(raw)) == (200, {"data": [path]})
    async with client.http.get(client.url + "/v1/models") as response:
        assert response.status == 200
    assert client.upstream.paths == ["/v1/embeddings", "/v1/audio/speech?x=1", "/v1/models"]
    assert await client.sessions() == []
    assert client.opened.sessions.counts().calls == 0
