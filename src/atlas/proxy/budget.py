"""What calls may cost together: each reserves the most it may cost; what it really cost is booked when it is over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from atlas.config.proxy import ProxyBudgetConfig
from atlas.models.text import estimate_tokens
from atlas.schema import Noun, Request, Usage
from atlas.schema.errors import BudgetError, ConfigError

MESSAGE_TOKENS = 8
"""Tokens that a turn or a tool costs beside its text, by estimate."""
PICTURE_TOKENS = 1_600
"""Tokens of a part that is no text, by estimate."""


PICTURES = ("[image", "[input_image")
"""How such a part stands in a message."""


class Spent(Noun):
    """What was spent in the present window, reservations of calls under way included."""

    since: float
    """When the window began, in seconds since 1970."""
    tokens: int = 0
    """Tokens."""
    usd: float = 0.0
    """US dollars."""


class Reservation(Noun):
    """What one call may cost at most."""

    tokens: int
    """Tokens."""
    usd: float
    """US dollars; 0 where no price is known."""


class Budget:
    """Takes reservations and books what was used. It is kept in a file, so that a restart does not start it anew."""

    def __init__(
        self, rules: ProxyBudgetConfig, file: Path | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises ConfigError where the file cannot be read or written."""
        self._rules = rules
        self._clock = clock
        self._bounded = rules.tokens is not None or rules.usd is not None
        self._fd: int | None = None
        self._spent = Spent(since=clock())
        if file is not None and self._bounded:
            try:
                self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._spent = _read(self._fd) or self._spent
            except ValidationError:
                raise ConfigError(f"{file} is damaged.", "Delete it to start the budget anew.") from None
            except OSError as error:
                raise ConfigError(f"{file} cannot be written ({error.strerror}).", "Free disk space.") from error

    @property
    def spent(self) -> Spent:
        """What was spent in the present window."""
        return self._spent

    @property
    def is_bounded(self) -> bool:
        """Whether there is a limit at all."""
        return self._bounded

    def reserve(self, request: Request, price: Callable[[Usage], float | None]) -> Reservation | None:
        """What this call may cost at most, taken from the budget; None where there is no limit.

        Raises:
            BudgetError: that much is not left, or a limit in dollars meets a model without a price.
        """
        if not self._bounded:
            return None
        self._turn_over()
        usage = Usage(
            prompt_tokens=prompt_tokens(request),
            completion_tokens=request.max_output_tokens or self._rules.output_tokens,
        )
        usd = price(usage)
        if self._rules.usd is not None and usd is None:
            raise BudgetError("The budget is in dollars and this model has no price.", "Add it to `prices`.")
        wanted = Reservation(tokens=usage.tokens, usd=usd or 0.0)
        if self._rules.tokens is not None and self._spent.tokens + wanted.tokens > self._rules.tokens:
            left = max(0, self._rules.tokens - self._spent.tokens)
            raise BudgetError(f"The budget has {left} tokens left; this call may need {wanted.tokens}.", self._remedy())
        if self._rules.usd is not None and self._spent.usd + wanted.usd > self._rules.usd:
            left_usd = max(0.0, self._rules.usd - self._spent.usd)
            raise BudgetError(
                f"The budget has ${left_usd:.4f} left; this call may cost ${wanted.usd:.4f}.", self._remedy()
            )
        self._book(wanted.tokens, wanted.usd)
        return wanted

    def settle(self, reserved: Reservation | None, usage: Usage | None) -> None:
        """Put what was used in the place of what was reserved; without a usage nothing was used."""
        if reserved is not None:
            used = usage or Usage()
            self._book(used.tokens - reserved.tokens, (used.cost_usd or 0.0) - reserved.usd)

    def close(self) -> None:
        """Give back the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _remedy(self) -> str:
        hours = max(0.0, self._spent.since / 3600 + self._rules.window_hours - self._clock() / 3600)
        return f"Raise proxy.budget, or wait {hours:.1f} hours."

    def _turn_over(self) -> None:
        if self._clock() >= self._spent.since + self._rules.window_hours * 3600:
            self._spent = Spent(since=self._clock())

    def _book(self, tokens: int, usd: float) -> None:
        """Written at once: a kill -9 forgets no reservation, so that nobody spends more by dying."""
        self._spent = Spent(
            since=self._spent.since, tokens=max(0, self._spent.tokens + tokens), usd=max(0.0, self._spent.usd + usd)
        )
        if self._fd is not None:
            line = self._spent.model_dump_json().encode()
            os.pwrite(self._fd, line.ljust(120) + b"\n", 0)


def prompt_tokens(request: Request) -> int:
    """Tokens of a request by estimate, rather too many."""
    said = sum(estimate_tokens(message.content) + MESSAGE_TOKENS for message in request.messages)
    calls = sum(estimate_tokens(call.arguments) for message in request.messages for call in message.tool_calls)
    pictures = PICTURE_TOKENS * sum(message.content.count(mark) for message in request.messages for mark in PICTURES)
    tools = sum(estimate_tokens(json.dumps(tool.parameters)) + MESSAGE_TOKENS for tool in request.tools)
    return said + calls + pictures + tools


def _read(fd: int) -> Spent | None:
    """What the file says; None where it is empty.

    Raises:
        ValidationError: it is damaged.
    """
    said = os.pread(fd, 4096, 0).strip()
    return Spent.model_validate_json(said) if said else None
