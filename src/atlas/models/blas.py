"""One thread for small matrices."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Protocol, cast

_one_at_a_time = threading.Lock()
"""The limit is the process's own: whoever lifts it must be the one who set it."""


class _Controller(Protocol):
    """What is used of threadpoolctl, which ships no types."""

    def limit(self, *, limits: int, user_api: str) -> AbstractContextManager[object]: ...


@cache
def _controller() -> _Controller:
    import threadpoolctl  # pyright: ignore[reportMissingTypeStubs]

    return cast(_Controller, threadpoolctl.ThreadpoolController())


@contextmanager
def one_blas_thread() -> Generator[None]:
    """Keep numpy's matrix library on one thread: on matrices this small, waking others costs seven times the work."""
    with _one_at_a_time, _controller().limit(limits=1, user_api="blas"):
        yield
