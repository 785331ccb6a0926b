"""The same judges, asked over HTTP at a server that speaks the OpenAI dialect, well or badly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from atlas.config.llm import LLMConfig, RetryConfig
from atlas.judges import Ensemble, LLMArbiter, panel
from atlas.models import Caller, ChatModel, HttpPool
from atlas.schema import Session


def verdict(score: float, uncertainty: float = 0.1) -> str:
    notes = {"student_note": None, "teacher_note": None}
    return json.dumps({"principles": [], "rationale": "ok", "score": score, "uncertainty": uncertainty, **notes})


def body(content: str, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"model": "m", "choices": [{"message": message, "finish_reason": finish}], "usage": usage}


class JudgeServer:
    """Says what it is told for each model's name."""

    def __init__(self) -> None:
        self.says: dict[str, Callable[[], web.Response]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.bodies.append(asked)
        return self.says[asked["model"]]()


@pytest.fixture
async def server() -> AsyncIterator[JudgeServer]:
    judges = JudgeServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", judges.handle)
    async with TestServer(app) as running:
        judges.url = str(running.make_url("/v1"))
        yield judges


@pytest.fixture
async def ensemble(server: JudgeServer) -> AsyncIterator[Ensemble]:
    http = HttpPool()

    def model(name: str) -> ChatModel:
        retry = RetryConfig(attempts=2, backoff_seconds=0.01)
        return ChatModel(LLMConfig(provider="vllm", model=name, api_base=server.url, retry=retry), http)

    yield Ensemble((), panel([model("small")], size=3), LLMArbiter(model("large")))
    await http.close()


def says(content: str, finish: str = "stop") -> Callable[[], web.Response]:
    return lambda: web.json_response(body(content, finish))


async def test_two_samples_that_agree_are_the_reward(
    server: JudgeServer, ensemble: Ensemble, session_of: Callable[..., Session], caller: Caller, trace: Any
) -> None:
    server.says = {"small": says(verdict(0.9))}
    reward = await ensemble.reward(session_of(), caller)
    assert (reward.value, reward.source) == (0.9, "judges")
    assert [asked["temperature"] for asked in server.bodies] == [0.2, 0.7]
    assert all(asked["response_format"]["type"] == "json_schema" for asked in server.bodies)
    one, two = (asked["messages"][-1]["content"] for asked in server.bodies)
    assert one == two, "the same bytes for every sample, so that prefix caches hit"
    used = [recorded.completion.usage.tokens for recorded in trace.bodies if recorded.type == "model_called"]
    assert used == [15, 15]


OUTAGES: dict[str, Callable[[], web.Response]] = {
    "500": lambda: web.Response(status=500, text="boom"),
    "429": lambda: web.Response(status=429, headers={"Retry-After": "0"}),
    "401": lambda: web.Response(status=401, text="no such key"),
    "html": lambda: web.Response(text="<html>gateway</html>", content_type="text/html"),
    "empty": says(""),
    "truncated": says(verdict(0.9)[:40], "length"),
    "filtered": says("", "content_filter"),
    "refusal": says("I cannot judge this."),
    "out of range": says(verdict(1.5)),
    "fenced prose": says("Sure!\n```json\n" + verdict(0.9) + "\n```"),
    "master key": says(":"),
}


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES.keys())
async def test_a_judge_that_fails_has_no_score(
    fault: Callable[[], web.Response],
    server: JudgeServer,
    ensemble: Ensemble,
    session_of: Callable[..., Session],
    caller: Caller,
) -> None:
    server.says = {"small": fault, "large": fault}
    reward = await ensemble.reward(session_of(), caller)
    assert (reward.value, reward.source, reward.verdicts, reward.escalated) == (None, "none", (), True)
    server.says = {"small": fault, "large": says(verdict(0.3))}
    reward = await ensemble.reward(session_of(), caller)
    assert (reward.value, reward.source) == (0.3, "arbiter")
