"""One thread for small matrices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_one_at_a_time = threading.Lock()
"""The limit is the process's own: whoever lifts it must be the one who set it."""


@cache
def _controller() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's matrix library on one thread: on matrices this small, waking others costs seven times the work."""
    with _one_at_a_time, _controller().limit(limits=1, user_api="blas"):
        yield
