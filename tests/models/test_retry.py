"""The one owner of retries."""

from __future__ import annotations

import asyncio

import pytest
from models_kit import Sleeper

from atlas.config.llm import RetryConfig
from atlas.models import Retrier, RetryBudget
from atlas.schema.errors import ModelRefused, ModelTimeout, ModelUnavailable


def retrier(sleeper: Sleeper, budget: RetryBudget | None = None, **config: float) -> Retrier:
    return Retrier("it", RetryConfig.model_validate(config), budget or RetryBudget(), sleeper.pace)


async def down() -> str:
    raise ModelUnavailable("It is down.", "Wait.")


async def test_pauses_double_and_are_bounded(sleeper: Sleeper) -> None:
    with pytest.raises(ModelUnavailable, match=r"It is down \(10 tries\)\. Wait\."):
        await retrier(sleeper, attempts=10, backoff_seconds=4).run(down, timeout_s=10_000)
    assert sleeper.pauses == [2, 4, 8, 16, 30, 30, 30, 30, 30]


async def test_the_deadline_is_over_all_tries(sleeper: Sleeper) -> None:
    with pytest.raises(ModelUnavailable, match="would come after the deadline"):
        await retrier(sleeper, attempts=20, backoff_seconds=4).run(down, timeout_s=20)
    assert sum(sleeper.pauses) < 20


async def test_what_is_not_an_outage_is_not_tried_again(sleeper: Sleeper) -> None:
    async def refused() -> str:
        raise ModelRefused("No.")

    with pytest.raises(ModelRefused):
        await retrier(sleeper).run(refused, timeout_s=5)
    assert sleeper.pauses == []


async def test_a_try_that_hangs_ends_at_the_deadline_and_says_what_happened_before(sleeper: Sleeper) -> None:
    tries = 0

    async def once_then_hang() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            return await down()
        await asyncio.sleep(5)
        return ""

    with pytest.raises(ModelTimeout, match=r"within 0\.05 s\. The last try failed: It is down\."):
        await retrier(sleeper, backoff_seconds=0).run(once_then_hang, timeout_s=0.05)


async def test_a_broken_host_is_not_hammered_by_many_sessions(sleeper: Sleeper) -> None:
    budget, calls = RetryBudget(capacity=20), 0

    async def count() -> str:
        nonlocal calls
        calls += 1
        return await down()

    async def session() -> None:
        with pytest.raises(ModelUnavailable):
            await retrier(sleeper, budget, attempts=5, backoff_seconds=0).run(count, timeout_s=5)

    await asyncio.gather(*(session() for _ in range(500)))
    assert calls == 500 + 20


async def test_successes_fill_the_budget_again() -> None:
    budget = RetryBudget(capacity=1, refund=0.5)
    assert (budget.take(), budget.take()) == (True, False)
    budget.give()
    assert not budget.take()
    budget.give()
    budget.give()
    assert (budget.take(), budget.take()) == (True, False)


async def test_a_wait_that_the_host_asked_for_costs_no_budget(sleeper: Sleeper) -> None:
    async def busy() -> str:
        raise ModelUnavailable("Busy.", retry_after_s=1.0)

    budget = RetryBudget(capacity=1)
    with pytest.raises(ModelUnavailable, match="3 tries"):
        await retrier(sleeper, budget).run(busy, timeout_s=50)
    assert budget.take()
