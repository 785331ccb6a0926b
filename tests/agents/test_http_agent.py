"""The user's service as the agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from agents_kit import MemoryTrace, retried, turn
from aiohttp import web
from aiohttp.test_utils import TestServer

from atlas.agents import HttpAgent
from atlas.config import HttpAgentConfig
from atlas.models import Caller, HttpPool, Journal, Pace
from atlas.schema import Attempt
from atlas.schema.errors import AgentError, ConfigError
from atlas.schema.events import Attempted

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """Plays its handlers in order, the last for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.handlers: list[Handler] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        return await (self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0])(request)


def answers(body: Any, status: int = 200, **headers: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=names)
        return web.json_response(body, status=status, headers=names)

    return handle


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    running = Service()
    app = web.Application()
    app.router.add_post("/act", running.handle)
    async with TestServer(app) as server:
        running.url = str(server.make_url("/act"))
        yield running


@pytest.fixture
def make(service: Service, http: HttpPool) -> Callable[..., HttpAgent]:
    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0)

    def build(**fields: Any) -> HttpAgent:
        config = HttpAgentConfig.model_validate({"type": "http_api", "url": service.url} | fields)
        return HttpAgent(config, http, pace=Pace(sleep=no_sleep))

    return build


async def test_the_template_is_filled_and_the_path_followed(
    service: Service, make: Callable[..., HttpAgent], caller: Caller
) -> None:
    service.handlers = [answers({"data": {"choices": [{"text": "42"}]}})]
    agent = make(
        payload_template={"input": {"q": "Q: {prompt}", "n": 3, "tags": ["{prompt}", None]}},
        result_path="data.choices.0.text",
        system_prompt="Be brief.",
    )
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    output = await agent.act(turn(prompt='say "{prompt}"'), caller, on_text=hear)
    assert (output.text, heard) == ("42", ["42"])
    asked = 'Be brief.\n\nsay "{prompt}"'
    assert service.bodies[0] == {"input": {"q": f"Q: {asked}", "n": 3, "tags": [asked, None]}}


@pytest.mark.parametrize(
    ("body", "path", "text"),
    [
        ("plain words", (), "plain words"),
        ({"a": 1}, "", '{"a": 1}'),
        ('"quoted"', (), "quoted"),
        ({"a.b": ["x", "y"]}, ("a.b", 1), "y"),
    ],
)
async def test_shapes_of_replies(
    service: Service, make: Callable[..., HttpAgent], caller: Caller, body: Any, path: Any, text: str
) -> None:
    service.handlers = [answers(body)]
    assert (await make(result_path=path).act(turn(), caller)).text == text


async def test_guidance_and_playbook_reach_the_service(
    service: Service, make: Callable[..., HttpAgent], caller: Caller
) -> None:
    service.handlers = [answers("42")]
    await make().act(retried("- even: think again"), caller)
    assert service.bodies[0]["prompt"].endswith("it is even.\n\nPlaybook:\n- even: think again")


async def test_a_service_that_has_not_begun_is_asked_again_with_the_same_key(
    service: Service, make: Callable[..., HttpAgent], caller: Caller
) -> None:
    service.handlers = [answers("", 429, Retry_After="1"), answers("", 503), answers("42")]
    assert (await make().act(turn(), caller)).text == "42"
    assert len({headers["Idempotency-Key"] for headers in service.headers}) == 1


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "fields", "match"),
    [
        (answers("boom", 500), {}, "answered 500: boom"),
        (answers("", 404), {}, "answered 404: nothing"),
        (answers("", 302, Location="http://evil.example/"), {}, "answered 302"),
        (reset, {}, "connection to the agent at 127.0.0.1 failed"),
        (answers({"a": 1}), {"result_path": "b"}, "gave no text at b"),
        (answers([1]), {"result_path": "5"}, "gave no text at 5"),
        (answers([1]), {"result_path": "x"}, "gave no text at x"),
        (answers({"a": None}), {"result_path": "a"}, "gave no text at a: returned nothing"),
        (answers("<html>"), {"result_path": "a"}, "sent no JSON"),
        (answers(""), {}, "returned an empty answer"),
    ],
)
async def test_its_failures_are_the_agents_and_never_repeated(
    service: Service, make: Callable[..., HttpAgent], caller: Caller, handler: Handler, fields: Any, match: str
) -> None:
    service.handlers = [handler]
    with pytest.raises(AgentError, match=match) as caught:
        await make(**fields).act(turn(), caller)
    assert "\n" not in str(caught.value)
    assert len(service.bodies) == 1  # its work may have had an effect


async def test_it_ends_at_its_timeout(service: Service, make: Callable[..., HttpAgent], caller: Caller) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response()

    service.handlers = [hang]
    with pytest.raises(AgentError, match=r"within 0\.1 s"):
        await make(timeout_seconds=0.1).act(turn(), caller)


async def test_a_reply_without_end_is_cut(
    service: Service, make: Callable[..., HttpAgent], caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.models.http.MAX_REPLY_BYTES", 1000)
    service.handlers = [answers("x" * 5000)]
    with pytest.raises(AgentError, match="more than"):
        await make().act(turn(), caller)


async def test_a_dead_service_is_named(http: HttpPool, caller: Caller) -> None:
    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0)

    config = HttpAgentConfig(type="http_api", url="http://127.0.0.1:9/act")
    with pytest.raises(AgentError, match=r"127\.0\.0\.1 failed: .* \(3 tries\)"):
        await HttpAgent(config, http, pace=Pace(sleep=no_sleep)).act(turn(), caller)


async def test_secrets_of_headers_and_address_stay_out_of_errors(
    service: Service, http: HttpPool, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_KEY", "k-0123456789")

    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.headers['X-Key']} {request.query_string}", status=400)

    service.handlers = [echo]
    url = service.url + "?token=t-987654321"
    config = HttpAgentConfig(type="http_api", url=url, headers={"X-Key": "${AGENT_KEY}"})
    with pytest.raises(AgentError) as caught:
        await HttpAgent(config, http).act(turn(), caller)
    assert "k-0123456789" not in str(caught.value)
    assert "t-987654321" not in str(caught.value)
    assert service.headers[0]["X-Key"] == "k-0123456789"
    with pytest.raises(ConfigError, match="NOT_THERE is not set"):
        HttpAgent(HttpAgentConfig(type="http_api", url=url, headers={"X-Key": "${NOT_THERE}"}), http)


async def test_a_resumed_session_does_not_ask_it_twice(
    service: Service, make: Callable[..., HttpAgent], trace: MemoryTrace
) -> None:
    service.handlers = [answers("42")]
    await trace.record(Attempted(attempt=Attempt(output="41")))
    resumed = Caller(trace, journal=Journal(trace.events))
    assert (await make().act(turn(), resumed)).text == "41"
    assert service.bodies == []


def stream(*pieces: str, kind: str = "text/event-stream") -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece.encode())
        return response

    return handle


@pytest.mark.parametrize(
    ("path", "pieces"),
    [
        ("choices.0.delta.content", ['data: {"choices":[{"delta":{"content":"4"}}]}\n\n', 'data: {"choices":[]}\n\n',
                                     'data: {"choices":[{"delta":{"con', 'tent":"2"}}]}\n\ndata: [DONE]\n\n']),
        ((), ["event: token\ndata: 4\n\n: ping\n\ndata: 2"]),
    ],
)  # fmt: skip
async def test_a_stream_of_events_is_heard_piece_by_piece(
    service: Service, make: Callable[..., HttpAgent], caller: Caller, path: Any, pieces: list[str]
) -> None:
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    service.handlers = [stream(*pieces)]
    assert (await make(result_path=path).act(turn(), caller, on_text=hear)).text == "42"
    assert heard == ["4", "2"]


async def test_a_stream_without_an_answer(service: Service, make: Callable[..., HttpAgent], caller: Caller) -> None:
    service.handlers = [stream('data: {"x": 1}\n\n')]
    with pytest.raises(AgentError, match="returned an empty answer"):
        await make(result_path="text").act(turn(), caller)


async def test_places_of_the_template_say_what_reaches_the_service(
    service: Service, make: Callable[..., HttpAgent], caller: Caller
) -> None:
    service.handlers = [answers("42")]
    agent = make(payload_template={"q": "{task}", "notes": ["{playbook}", "{guidance}"]})
    await agent.act(retried("- even: think again"), caller)
    assert service.bodies[0]["q"] == "What is 6 x 7?"
    assert service.bodies[0]["notes"] == ["- even: think again", "A reviewer found a problem: it is even."]
    assert agent.abilities.level == "result + injection"
    assert make(payload_template={"q": "{task}"}).abilities.level == "result"
