"""The dossier: what is known of a task before it runs. Pluggable, without a model call by default."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from atlas.schema import Dossier, Task

TriageAdapter = Callable[[Task], Dossier | Awaitable[Dossier]]
"""A user's own triage: a task in, a dossier out; sync or async."""

SUMMARY_CHARS = 160
"""Characters of the task that make its one-line summary."""


def default_dossier(task: Task, tags: tuple[str, ...] = ()) -> Dossier:
    """The dossier that needs no adapter: the task's first words and the configured tags."""
    line = " ".join(task.prompt.split())
    summary = line if len(line) <= SUMMARY_CHARS else line[: SUMMARY_CHARS - 1] + "…"
    return Dossier(summary=summary, tags=tags)


async def adapted_dossier(adapter: TriageAdapter, task: Task) -> Dossier:
    """The dossier a user's adapter writes; a sync adapter runs in a thread.

    Raises:
        TypeError: it returned something else than a dossier.
    """
    if inspect.iscoroutinefunction(adapter):
        dossier = await adapter(task)
    else:
        made = await asyncio.to_thread(adapter, task)
        dossier = await made if inspect.isawaitable(made) else made
    return Dossier.model_validate(dossier, from_attributes=True)
