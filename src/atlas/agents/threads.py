"""Where the user's code runs: blocking code beside the event loop, async code on the loop it belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, from a daemon thread of its own.

    Unlike the event loop's pool, code that hangs here neither takes a worker from others nor keeps the process alive.
    What `work` raises is raised here; an exit, an interrupt and other ends of a process become a RuntimeError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(set_outcome: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else set_outcome())
        except RuntimeError:
            return  # The loop was closed while the work hung; nobody waits any more.

    def run() -> None:
        try:
            result = context.run(work)
        except (StopIteration, StopAsyncIteration) as error:
            stopped = RuntimeError(f"{type(error).__name__}: {error}")
            deliver(lambda: done.set_exception(stopped))
        except Exception as error:  # The boundary of the thread: whatever it is belongs to the waiting task.
            raised = error
            deliver(lambda: done.set_exception(raised))
        except BaseException as error:  # An exit, an interrupt or a kind of its own must not end the event loop.
            ended = RuntimeError(f"{type(error).__name__}: {error}")
            deliver(lambda: done.set_exception(ended))
        else:
            deliver(lambda: done.set_result(result))

    threading.Thread(target=run, name="atlas-user-code", daemon=True).start()
    return await done


async def on_loop(work: Awaitable[T], loop: asyncio.AbstractEventLoop | None) -> T:
    """The result of `work`, awaited on `loop`, where its clients and locks belong; None means the running loop.

    Raises:
        RuntimeError: that loop has stopped.
    """
    if loop is None or loop is asyncio.get_running_loop():
        return await work
    if not loop.is_running():
        if inspect.iscoroutine(work):
            work.close()
        raise RuntimeError("the event loop it belongs to has stopped")
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(work), loop))


async def _awaited(work: Awaitable[T]) -> T:
    return await work
