"""The one owner of retries: how often, how long between, until when, and for how many calls together."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from atlas.config.llm import RetryConfig
from atlas.schema.errors import ModelTimeout, ModelUnavailable

T = TypeVar("T")

_MAX_PAUSE_S = 60.0


@dataclass(frozen=True)
class Pace:
    """Clock (seconds), sleep and randomness of a retrying client, so that a test or a simulator can own them."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


class RetryBudget:
    """Retries that all callers of one host may spend together, so that a broken host is not hammered.

    Source: gRPC A6 (retry throttling): a retry takes one token, a success gives a tenth back, up to the capacity.
    """

    def __init__(self, capacity: float = 500.0, *, refund: float = 0.1) -> None:
        self._capacity = capacity
        self._refund = refund
        self._tokens = capacity

    def take(self) -> bool:
        """Whether one more retry may be made; it is then spent."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def give(self) -> None:
        """A call succeeded."""
        self._tokens = min(self._capacity, self._tokens + self._refund)


class Retrier:
    """Tries a call again while its failure is `ModelUnavailable`, within one deadline over all tries."""

    def __init__(self, name: str, config: RetryConfig, budget: RetryBudget, pace: Pace | None = None) -> None:
        """`name` is what the errors call the other side."""
        self._name = name
        self._config = config
        self._budget = budget
        self._pace = pace or Pace()

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        timeout_s: float,
        may_repeat: Callable[[], bool] = lambda: True,
    ) -> T:
        """The result of the first try that succeeds; `may_repeat` can forbid another one.

        Raises:
            ModelTimeout: the deadline passed first.
            ModelUnavailable: all tries failed, the budget is spent, or the next try would start after the deadline.
        """
        deadline = self._pace.clock() + timeout_s
        last: list[ModelUnavailable] = []
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        result = await attempt()
                    except ModelUnavailable as error:
                        last.append(error)
                        if not may_repeat():
                            raise
                        await self._pace.sleep(self._pause_s(last, deadline))
                    else:
                        self._budget.give()
                        return result
        except TimeoutError:
            why = f" The last try failed: {last[-1].message}" if last else ""
            raise ModelTimeout(
                f"{self._name} gave no complete answer within {timeout_s:g} s.{why}", "Raise timeout_seconds."
            ) from None

    def _pause_s(self, failures: list[ModelUnavailable], deadline: float) -> float:
        """Seconds until the next try.

        A pause that the provider asked for is obeyed and free: it is no hammering. One that is made up here doubles
        with each try, has jitter between half and all of it, and costs budget.
        """
        error, tries = failures[-1], len(failures)
        if tries >= self._config.attempts:
            raise _give_up(error, tries, "")
        if error.retry_after_s is not None:
            pause = error.retry_after_s
        else:
            longest = min(_MAX_PAUSE_S, self._config.backoff_seconds * 2 ** (tries - 1))
            pause = longest * (0.5 + self._pace.random() / 2)
        if self._pace.clock() + pause >= deadline:
            raise _give_up(error, tries, f" The next try in {pause:.1f} s would come after the deadline.")
        if error.retry_after_s is None and not self._budget.take():
            raise _give_up(error, tries, " The retry budget of this host is spent.")
        return pause


def _give_up(error: ModelUnavailable, tries: int, why: str) -> ModelUnavailable:
    times = "1 try" if tries == 1 else f"{tries} tries"
    what = f"{error.message.rstrip('. ')} ({times}).{why}"
    return ModelUnavailable(what, error.remedy, retry_after_s=error.retry_after_s)
