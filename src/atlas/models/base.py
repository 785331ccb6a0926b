"""The socket of a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from atlas.schema import Completion, Request

OnText = Callable[[str], Awaitable[None]]
"""Called with each piece of text while it streams."""


class Model(Protocol):
    """Anything that answers a request: a provider, a local checkpoint, a script, a recording."""

    @property
    def name(self) -> str:
        """`provider:model`, as it is recorded and priced."""
        ...

    async def complete(self, request: Request, *, timeout_s: float, on_text: OnText | None = None) -> Completion:
        """Answer one request within `timeout_s` seconds, retries included.

        Raises:
            ModelError: one of its classes; never anything else but asyncio.CancelledError.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds; calling it twice is harmless."""
        ...
