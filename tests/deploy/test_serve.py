"""The server speaks the protocol: our own client, token ids and log-probabilities, refusals in its words."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from atlas.agents import Tool
from atlas.config.llm import LLMConfig
from atlas.deploy import ServeOptions, make_app
from atlas.deploy.protocol import ChatAsk, TextAsk
from atlas.evaluate.desk import TOOLS
from atlas.models import HttpPool, open_model
from atlas.models.local import open_local
from atlas.schema import Message, Request
from atlas.schema.errors import ConfigError
from atlas.train import checkpoint_folder

SPECS = tuple(Tool(tool).spec for tool in TOOLS)
QUESTION = Request(
    messages=(
        Message(role="system", content="You solve the task with your tools."),
        Message(role="user", content="For acme, billing side: Please refund order 417 with ledger 203."),
    ),
    tools=SPECS,
    temperature=0.0,
)


async def started(**more: Any) -> tuple[web.AppRunner, str]:
    options = ServeOptions(checkpoint_folder("pocket-student"), "pocket-student", **more)
    runner = web.AppRunner(make_app(options))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    runner, address = await started()
    yield address
    await runner.cleanup()


async def post(url: str, path: str, body: object, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_our_client_gets_what_the_local_model_says(url: str) -> None:
    local = open_local(LLMConfig(provider="local", model="pocket-student"), Path())
    pool = HttpPool()
    remote = open_model(LLMConfig(provider="vllm", model="pocket-student", api_base=url), pool, base=Path())
    wanted = await local.complete(QUESTION, timeout_s=20)
    told = await remote.complete(QUESTION, timeout_s=20)
    assert told.message == wanted.message
    assert told.finish_reason == "tool_calls"
    assert told.token_ids == wanted.token_ids
    assert told.usage.prompt_tokens == wanted.usage.prompt_tokens
    result = Message(role="tool", content="ok, id 7153", tool_call_id=told.message.tool_calls[0].id)
    more = QUESTION.model_copy(update={"messages": (*QUESTION.messages, told.message, result)})
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    assert (await remote.complete(more, timeout_s=20, on_text=hear)).message.content == "Done, id 7153."
    assert "".join(heard) == "Done, id 7153."
    await remote.close()
    await pool.close()
    await local.close()


async def test_log_probabilities_are_those_of_the_sampled_tokens(url: str) -> None:
    asked = {"messages": [{"role": "user", "content": "hello"}], "logprobs": True, "top_logprobs": 3, "temperature": 1}
    status, told = await post(url, "/chat/completions", asked | {"seed": 5, "return_token_ids": True, "max_tokens": 8})
    assert status == 200
    (choice,) = told["choices"]
    places = choice["logprobs"]["content"]
    assert len(places) == len(choice["token_ids"]) == told["usage"]["completion_tokens"]
    for place in places:
        assert place["logprob"] <= place["top_logprobs"][0]["logprob"] <= 0
        assert len(place["top_logprobs"]) == 3
    again = await post(url, "/chat/completions", asked | {"seed": 5, "return_token_ids": True, "max_tokens": 8})
    assert again[1]["choices"][0]["token_ids"] == choice["token_ids"]
    ids = [*told["prompt_token_ids"], *choice["token_ids"]]
    _, read = await post(url, "/completions", {"prompt": ids, "max_tokens": 1, "prompt_logprobs": 2})
    seen = read["choices"][0]["prompt_logprobs"]
    assert seen[0] is None
    assert len(seen) == len(ids)
    for place, token, at in zip(places, choice["token_ids"], seen[len(told["prompt_token_ids"]) :], strict=True):
        assert at[str(token)]["logprob"] == pytest.approx(place["logprob"], abs=1e-4)


async def test_the_whole_distribution_adds_up(url: str) -> None:
    _, told = await post(
        url, "/completions", {"prompt": [5, 6], "max_tokens": 1, "prompt_logprobs": 1000, "logprobs": 50}
    )
    mass = sum(math.exp(at["logprob"]) for at in told["choices"][0]["prompt_logprobs"][1].values())
    assert 0.9 < mass <= 1 + 1e-5


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/chat/completions", {}, 400, "messages"),
        ("/chat/completions", {"messages": []}, 400, "messages"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 2}, 400, "n:"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stop": ["a"]}, 400, "stop"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "word " * 3000}]}, 400, "reads 1024"),
        ("/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400, "messages"),
        ("/completions", {"prompt": ""}, 400, "prompt"),
        ("/completions", {"prompt": [10**9]}, 400, "no such token"),
        ("/completions", {"prompt": [-1]}, 400, "no such token"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)
async def test_what_it_cannot_do_is_refused_in_words(url: str, path: str, body: Any, status: int, says: str) -> None:
    told_status, told = await post(url, path, body)
    assert told_status == status
    assert says in told["error"]["message"]


async def test_a_body_that_is_no_json_or_too_large_is_refused(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(url + "/chat/completions", data=b"{nonsense") as response:
            assert response.status == 400
        async with session.post(url + "/chat/completions", data=io.BytesIO(b"x" * 5_000_000)) as response:
            assert response.status == 413
        async with session.get(url + "/models") as response:
            assert [card["id"] for card in (await response.json())["data"]] == ["pocket-student"]


async def test_a_key_is_asked_for_and_a_crowd_is_told_to_wait() -> None:
    runner, url = await started(key="secret", waiting=0)
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert (await post(url, "/chat/completions", body))[0] == 401
    assert (await post(url, "/chat/completions", body, Authorization="Bearer wrong"))[0] == 401
    assert (await post(url, "/chat/completions", body, Authorization="Bearer secret"))[0] == 429
    await runner.cleanup()


async def test_a_slow_answer_is_a_timeout() -> None:
    runner, url = await started(timeout_s=0.0005)
    status, told = await post(url, "/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    assert (status, told["error"]["type"]) == (504, "timeout")
    await runner.cleanup()


KEYS = st.sampled_from(["messages", "prompt", "role", "content", "tools", "n", "max_tokens"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)


@given(st.recursive(LEAVES, nested, max_leaves=8))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_taken_or_refused(body: Any) -> None:
    for kind in (ChatAsk, TextAsk):
        try:
            kind.model_validate_json(json.dumps(body))
        except ValidationError:
            continue


def test_a_damaged_checkpoint_is_not_served(tmp_path: Path) -> None:
    shutil.copytree(checkpoint_folder("pocket-student"), tmp_path / "mine")
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="damaged"):
        make_app(ServeOptions(tmp_path / "mine", "mine"))


def test_the_command_serves_and_refuses() -> None:
    def atlas(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "atlas", *words], capture_output=True, text=True, check=False, timeout=60
        )

    assert "no checkpoint" in atlas("serve", "nowhere").stderr
    assert "reachable by others" in atlas("serve", "pocket-student", "--host", "0.0.0.0").stderr
    running = subprocess.Popen(
        [sys.executable, "-m", "atlas", "serve", "pocket-student", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("http://127.0.0.1:")
    finally:
        running.terminate()
        running.communicate(timeout=20)
