"""The configured judges outside of a session: to score batches, to be calibrated, to be attacked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from atlas.config import AtlasConfig
from atlas.judges import Judge, LLMArbiter, Scorer
from atlas.models import Caller, HttpPool
from atlas.runtime.judging import focus_of, rewarder_of, samples_of
from atlas.runtime.seats import Models
from atlas.schema import Body, Event, Session, Verdict, now


@asynccontextmanager
async def open_scorer(
    config: AtlasConfig, folder: Path, *, at_once: int = 8, max_tokens: int | None = None
) -> AsyncGenerator[Scorer]:
    """A scorer with the judges of a configuration; the code path is the runtime's.

    Raises:
        ConfigError: something the configuration names is missing or unusable.
    """
    models = Models(config, HttpPool(), folder)
    try:
        yield Scorer(rewarder_of(config, models, folder), at_once=at_once, max_tokens=max_tokens)
    finally:
        await models.close()


@asynccontextmanager
async def open_judges(config: AtlasConfig, folder: Path) -> AsyncGenerator[tuple[Judge, ...]]:
    """The model judges of a configuration, each by itself; the arbiter as the last, without readings of others.

    Raises:
        ConfigError: a model cannot be opened.
    """
    models = Models(config, HttpPool(), folder)
    try:
        samples, arbiter = samples_of(config, models), models.seat("arbiter")
        last = (_Alone(LLMArbiter(arbiter, focus=focus_of(config))),) if arbiter and samples else ()
        yield (*samples, *last)
    finally:
        await models.close()


class Unkept:
    """A trace that keeps nothing."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    async def record(self, body: Body) -> Event:
        """See `Trace.record`."""
        return Event(session_id=self.session_id, seq=1, at=now(), body=body)


class _Alone:
    """An arbiter as a judge."""

    def __init__(self, arbiter: LLMArbiter) -> None:
        self.name = arbiter.name
        self._arbiter = arbiter

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        """See `Judge.judge`."""
        return await self._arbiter.settle(session, (), caller)
