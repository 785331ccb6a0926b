"""Keys stay out of the record, strangers stay out of the door, and nobody spends more than allowed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from proxy_kit import TOKEN, chat, reply, stream, user

from atlas.config.proxy import ProxyBudgetConfig
from atlas.proxy.budget import Budget
from atlas.schema import Message, Request, Usage
from atlas.schema.errors import BudgetError, ConfigError

Serve = Any
CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-x", "messages": [user("Weather?")], "max_tokens": 100}
KEYS = ("plain words as a key", "sk-proj-abcdefghij0123456789", "Zx81-Zx81-Zx81")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("header", ["Authorization", "x_api_key", "api_key", "Cookie"])
async def test_a_clients_key_is_nowhere_in_the_record(serve: Serve, key: str, header: str) -> None:
    client = await serve()
    client.upstream.play(
        reply({"error": {"message": f"Incorrect key: {key}"}}, status=401),
        reply(chat(f"Your key is {key}.", ("c1", "send", json.dumps({"key": key})))),
    )
    value = f"Bearer {key}" if header == "Authorization" else key
    for _ in range(2):
        said = [{"role": "system", "content": f"Use {key}."}, user(f"My key is {key}")]
        _, raw, _ = await client.post(CHAT, BODY | {"messages": said}, **{header: value})
        assert key in raw.decode()
        assert key in client.upstream.raws[-1].decode()
    session = await client.session()
    record = "".join(event.model_dump_json() for event in await client.events(session))
    assert key not in record
    assert "[redacted:client-key]" in record


async def test_the_proxys_own_key_goes_to_its_host_for_clients_without_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", "own-key-0123456789")
    client = await serve(proxy={"openai_key_env": "UPSTREAM_KEY", "anthropic_key_env": "UPSTREAM_KEY"})
    client.upstream.play(reply(chat("own-key-0123456789")))
    await client.post(CHAT, BODY, Authorization=f"Bearer {TOKEN}")
    await client.post("/v1/messages", BODY, x_api_key=TOKEN)
    await client.post(CHAT, BODY, Authorization="Bearer the-clients-own-key")
    first, second, third = client.upstream.headers
    assert first["Authorization"] == "Bearer own-key-0123456789"
    assert {name.lower(): value for name, value in second.items()}["x-api-key"] == "own-key-0123456789"
    assert third["Authorization"] == "Bearer the-clients-own-key"
    for session in await client.sessions():
        events = await client.events(session)
        assert "own-key-0123456789" not in "".join(event.model_dump_json() for event in events)


async def test_a_default_key_never_leaves_its_own_host(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-anthropic-0123456789")
    agent = {"type": "openai", "llm": {"model": "m", "api_key_env": "OPENAI_API_KEY"}}
    judges = {"active_judges": {"process": False, "helpfulness": False}}
    client = await serve(agent=agent, rim=judges, learning={"enabled": False})
    await client.post(CHAT, BODY)
    await client.post("/v1/messages", BODY)
    assert "0123456789" not in str(client.upstream.headers)


async def test_a_key_that_is_named_and_not_set_is_told(serve: Serve) -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        await serve(proxy={"openai_key_env": "NO_SUCH_KEY"})


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models", {}, 401),
        ("/t/wrong/v1/models", {}, 401),
        ("/t/", {}, 401),
        ("/t//v1/models", {}, 401),
        (f"/t/{TOKEN}", {}, 404),
        (f"/t/{TOKEN}/admin", {}, 404),
        (f"/t/{TOKEN}/v1/models", {}, 200),
        ("/v1/models", {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("/v1/models", {"x-api-key": TOKEN}, 200),
        ("/v1/models", {"X-Atlas-Token": TOKEN, "Authorization": "Bearer own"}, 200),
        ("/v1/models", {"X-Atlas-Token": TOKEN + "x"}, 401),
        ("/atlas/status", {}, 401),
        ("/atlas/status", {"X-Atlas-Token": TOKEN}, 200),
    ],
)
async def test_nobody_comes_in_without_the_token(serve: Serve, path: str, headers: dict[str, str], status: int) -> None:
    client = await serve()
    async with client.http.get(f"http://127.0.0.1:{client.port}{path}", headers=headers) as response:
        assert response.status == status
    assert len(client.upstream.paths) == (status == 200 and "v1" in path)
    assert TOKEN not in str(client.upstream.headers)


async def test_without_a_token_it_listens_to_this_machine_only(serve: Serve) -> None:
    client = await serve(token=None)
    assert (await client.say(user("Weather?")))["content"] == "It is sunny."
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Host": "[", "X": "y"}):
        async with client.http.get(client.url + "/v1/models", headers=headers) as response:
            assert response.status in (400, 401)
    with pytest.raises(ConfigError, match="open to the network"):
        await client.opened.proxy.open("0.0.0.0", 0)


async def test_calls_at_once_never_spend_more_than_the_budget(serve: Serve) -> None:
    client = await serve(proxy={"budget": {"tokens": 1_000}})
    client.upstream.play(stream(b"data: [DONE]\n\n", pause_s=0.1))
    done = await asyncio.gather(*(client.post(CHAT, BODY) for _ in range(30)))
    statuses = [status for status, _, _ in done]
    assert (statuses.count(200), statuses.count(429)) == (9, 21)
    refused = next(one for one in done if one[0] == 429)
    assert "The budget has" in json.loads(refused[1])["error"]["message"]
    assert refused[2]["X-Should-Retry"] == "false"


async def test_what_was_used_takes_the_place_of_what_was_reserved(serve: Serve) -> None:
    client = await serve(proxy={"budget": {"tokens": 1_000}})
    for _ in range(20):
        assert (await client.post(CHAT, BODY))[0] == 200
    assert client.opened._budget.spent.tokens == 20 * 18
    client.upstream.play(reply({"error": {"message": "no"}}, status=400))
    await client.post(CHAT, BODY)
    assert client.opened._budget.spent.tokens == 20 * 18


async def test_a_body_that_nobody_can_price_is_refused_where_there_is_a_budget(serve: Serve) -> None:
    client = await serve(proxy={"budget": {"tokens": 1_000}})
    assert (await client.post(CHAT, b"not json"))[0] == 429
    assert client.upstream.raws == []


async def test_a_budget_in_dollars_needs_a_price(serve: Serve) -> None:
    client = await serve(proxy={"budget": {"usd": 0.01}}, prices={"dear": {"input": 10, "output": 50}})
    assert (await client.post(CHAT, BODY))[0] == 429
    assert (await client.post(CHAT, BODY | {"model": "dear"}))[0] == 200
    assert client.opened._budget.spent.usd == pytest.approx((11 * 10 + 7 * 50) / 1e6)
    assert (await client.post(CHAT, BODY | {"model": "dear", "max_tokens": 1000}))[0] == 429
    session = await client.session()
    assert session.total_usage.cost_usd == pytest.approx((11 * 10 + 7 * 50) / 1e6)


def request(tokens: int) -> Request:
    return Request(messages=(Message(role="user", content="x" * 40),), max_output_tokens=tokens)


def test_neither_a_restart_nor_a_death_starts_a_budget_anew(tmp_path: Path) -> None:
    rules, file = ProxyBudgetConfig(tokens=1_000), tmp_path / "budget.json"
    budget = Budget(rules, file)
    budget.settle(budget.reserve(request(100), lambda _: None), Usage(prompt_tokens=10, completion_tokens=20))
    budget.reserve(request(500), lambda _: None)  # and dies
    again = Budget(rules, file)
    assert again.spent.tokens == 30 + 518
    with pytest.raises(BudgetError, match="452 tokens left"):
        again.reserve(request(500), lambda _: None)
    file.write_text("{ damaged")
    with pytest.raises(ConfigError, match="damaged"):
        Budget(rules, file)


def test_a_budget_starts_anew_after_its_window() -> None:
    now = [0.0]
    budget = Budget(ProxyBudgetConfig(tokens=600, window_hours=1), clock=lambda: now[0])
    budget.reserve(request(500), lambda _: None)
    with pytest.raises(BudgetError, match=r"wait 1\.0 hours"):
        budget.reserve(request(500), lambda _: None)
    now[0] = 3600.0
    assert budget.reserve(request(500), lambda _: None) is not None
