"""One pool of connections for each event loop, and a turnstile in front of it."""

from __future__ import annotations

import asyncio
import os

import pytest

from atlas.models import HttpPool
from atlas.models.http import is_local, proxy_of, retry_after_s
from atlas.models.turnstile import Turnstile


async def test_a_session_is_made_once_and_closed_once() -> None:
    pool = HttpPool()
    session = pool.session()
    assert pool.session() is session
    await pool.close()
    await pool.close()
    assert session.closed
    assert pool.session() is not session
    await pool.close()


def test_each_event_loop_has_its_own_session() -> None:
    pool = HttpPool()

    async def use() -> int:
        found = id(pool.session())
        await asyncio.sleep(0)
        await pool.close()
        return found

    asyncio.run(use())
    asyncio.run(use())
    assert pool._states == {}


async def test_a_burst_goes_through_in_groups_and_in_order() -> None:
    gate, passed, passes = Turnstile(per_pass=10), [0], [0]
    order: list[int] = []

    async def caller(number: int) -> None:
        await gate.enter()
        passed[-1] += 1
        order.append(number)

    async def watch() -> None:
        while len(order) < 99:
            passed.append(0)
            passes[0] += 1
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(caller(number)) for number in range(100)]
    watching = asyncio.create_task(watch())
    tasks[50].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await watching
    assert order == [number for number in range(100) if number != 50]
    assert max(passed) <= 10
    await gate.enter()


async def test_a_turnstile_at_rest_costs_no_pass() -> None:
    gate = Turnstile(per_pass=1)
    await gate.enter()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not gate._turning


def test_proxies_come_from_the_environment_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "direct.example")
    assert proxy_of("https://api.openai.com/v1") == "http://proxy.example:3128"
    assert proxy_of("https://direct.example/v1") is None
    assert proxy_of("https://127.0.0.1/v1") is None
    assert proxy_of("http://api.openai.com/v1") is None


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("api.localhost", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert is_local(host) == local


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After-Ms": "250", "Retry-After": "2"}, 0.25),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
