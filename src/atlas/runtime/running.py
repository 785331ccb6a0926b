"""A session under way: its answer first, judging and learning behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from atlas.runtime.loop import Loop, Opening
from atlas.schema import Event, Session
from atlas.schema.errors import AtlasError, StoreError
from atlas.schema.events import Failure, Finished, Status


class Running:
    """A handle on one session. The answer does not wait for judges and memory; `settled()` does."""

    def __init__(self, loop: Loop, opening: Opening) -> None:
        self.session_id = opening.trace.session_id
        self._loop = loop
        self._opening = opening
        self._answered = asyncio.create_task(self._play(), name=f"atlas-play-{self.session_id}")
        self._settled = asyncio.create_task(self._settle(), name=f"atlas-settle-{self.session_id}")

    async def answered(self) -> Session:
        """The session with its answer.

        Raises:
            AtlasError: there is no answer; the error carries the session's id.
            asyncio.CancelledError: the session was interrupted; it can be resumed.
        """
        try:
            return await asyncio.shield(self._answered)
        except asyncio.CancelledError:
            await self.interrupt()
            raise

    async def settled(self) -> Session:
        """The session with its reward, after learning.

        Raises:
            AtlasError: as `answered`.
        """
        await self.answered()
        return await asyncio.shield(self._settled)

    async def interrupt(self) -> None:
        """Stop where it stands. The record says `interrupted`, and the session can be resumed."""
        for task in (self._answered, self._settled):
            task.cancel()
        await asyncio.gather(self._answered, self._settled, return_exceptions=True)

    @property
    def events(self) -> list[Event]:
        """What has happened so far, in order."""
        return list(self._opening.trace.events)

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back once judging and learning are over too."""
        self._settled.add_done_callback(lambda _: callback())

    async def finish(self) -> None:
        """Wait until the session is settled, whatever came of it."""
        await asyncio.gather(self._answered, self._settled, return_exceptions=True)

    async def _play(self) -> Session:
        try:
            return await self._loop.play(self._opening)
        except asyncio.CancelledError:
            await self._close("interrupted", None)
            raise
        except AtlasError as error:
            error.session_id = self.session_id
            await self._close("failed", Failure.of(error))
            raise
        except Exception as error:  # a defect of ours still ends the session on record before it surfaces
            failure = Failure(boundary="atlas", kind=type(error).__name__, message=f"unexpected: {error}")
            await self._close("failed", failure)
            raise

    async def _close(self, status: Status, failure: Failure | None) -> None:
        try:
            await asyncio.shield(self._opening.trace.record(Finished(status=status, failure=failure)))
        except StoreError:
            # The store itself is the failure that is being reported; there is no second place to write it to.
            return

    async def _settle(self) -> Session:
        await asyncio.wait([self._answered])
        if self._answered.cancelled() or self._answered.exception() is not None:
            return self._opening.trace.session()
        opening = self._opening
        return await self._loop.settle(opening.task, opening.trace, opening.journal)
