"""The boundary to a user's own scoring function: import it, run it, and name whatever it does wrong."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

from atlas.models.text import one_line
from atlas.schema.errors import ConfigError, JudgeError

UserCode = Callable[..., Any]


def imported(target: str) -> UserCode:
    """The callable at `pkg.mod:attr`.

    Raises:
        ConfigError: there is no such module or attribute, or it cannot be called.
    """
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target} cannot be imported: {one_line(error)}", "Write it as pkg.mod:function.") from error
    if not callable(found):
        raise ConfigError(f"{target} is not a function.", "Name a function or a class with __call__.")
    return found


def positional_count(fn: UserCode) -> int:
    """How many positional arguments the function must be given; 1 where its signature cannot be read."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in parameters)


async def run_user_code(fn: UserCode, *args: object, timeout_s: float) -> object:
    """What the function returns; a sync one runs in a thread of its own.

    Raises:
        JudgeError: it raised, or took longer than `timeout_s` seconds. A thread that hangs is left behind, and does not
            keep the process from ending.
    """
    try:
        async with asyncio.timeout(timeout_s):
            if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
                return await fn(*args)
            found = await _in_thread(fn, args)
            return await found if inspect.isawaitable(found) else found
    except TimeoutError:
        raise JudgeError(f"It did not finish within {timeout_s:g} s.", "Make it faster or raise its timeout.") from None
    except JudgeError:
        raise
    except Exception as error:  # the boundary to the user's own code: whatever it raises becomes a missing verdict here
        raise JudgeError(f"It raised {type(error).__name__}: {one_line(error)}") from error


async def _in_thread(fn: UserCode, args: tuple[object, ...]) -> Any:
    """Run in a daemon thread: unlike the loop's own executor, it never blocks the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((result, error))

    def work() -> None:
        result, failure = None, None
        try:
            result = context.run(fn, *args)
        except BaseException as error:  # handed to the waiting session, which names it
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, daemon=True, name="atlas-check").start()
    result, failure = await done
    if failure is not None:
        raise JudgeError(f"It raised {type(failure).__name__}: {one_line(failure)}") from failure
    return result
