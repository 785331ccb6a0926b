"""The boundary to a user's own scoring function: find it, run it, and name whatever it does wrong."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from atlas.agents.loading import load_object
from atlas.agents.threads import in_thread
from atlas.models.text import one_line
from atlas.schema.errors import ConfigError, JudgeError

UserCode = Callable[..., Any]


def resolved(fn: UserCode | str) -> UserCode:
    """The function itself, or the one at the import path `pkg.mod:fn`.

    Raises:
        ConfigError: it cannot be imported or called.
    """
    if not isinstance(fn, str):
        return fn
    found = load_object(fn)
    if not callable(found):
        raise ConfigError(f"{fn} is not a function.", "Name a function or an object with __call__.")
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
    method = getattr(fn, "__call__", None)  # noqa: B004 - an object whose __call__ is async is called on the loop
    try:
        async with asyncio.timeout(timeout_s):
            if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(method):
                return await fn(*args)
            found = await in_thread(partial(fn, *args))
            return await found if inspect.isawaitable(found) else found
    except TimeoutError:
        raise JudgeError(f"It did not finish within {timeout_s:g} s.", "Make it faster or raise its timeout.") from None
    except JudgeError:
        raise
    except Exception as error:  # the boundary to the user's own code: whatever it raises becomes a missing verdict here
        raise JudgeError(f"It raised {type(error).__name__}: {one_line(error)}") from error
