"""One event loop in a thread of its own, for every session of the process.

A caller's event loop (Jupyter, a web server) is never blocked by Atlas and may end before judging does; sessions
started from many loops share one store pool and one HTTP session.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Service:
    """The thread and its loop; started at first use."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="atlas-service", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False after a fork: threads do not survive it."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the service's loop, in the caller's context (tracing spans, context variables)."""
        context = contextvars.copy_context()
        future: Future[T] = Future()

        def begin() -> None:
            task = self._loop.create_task(work, context=context)
            task.add_done_callback(lambda done: _hand_over(done, future))
            future.add_done_callback(
                lambda done: self._loop.call_soon_threadsafe(task.cancel) if done.cancelled() else None
            )

        self._loop.call_soon_threadsafe(begin)
        return future

    def stop(self) -> None:
        """End the loop and join the thread."""
        if self.alive:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


def _hand_over(task: asyncio.Task[T], future: Future[T]) -> None:
    if task.cancelled():
        future.cancel()
        future.set_running_or_notify_cancel()
        return
    error = task.exception()
    if future.cancelled() or not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())
