"""Scores batches of answers by the same judges as the runtime: for trainers, evaluations and ad-hoc questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from atlas.judges.base import Rewarder
from atlas.models import Caller
from atlas.schema import Attempt, Body, Event, Noun, Reward, Session, Task, content_hash, new_id, now
from atlas.schema.events import ModelCalled


class Piece(Noun):
    """An answer to score."""

    prompt: str
    """What was asked."""
    answer: str
    """What came."""
    learning_key: str = "default"
    """Learning key: fitted weights differ by it."""
    payload: dict[str, Any] = Field(default_factory=dict)
    """What checks compare with (a payload); no model sees it."""

    @property
    def identity(self) -> str:
        """Content hash; pieces of one identity are scored once."""
        return content_hash(self.model_dump_json())

    def session(self) -> Session:
        """The session a judge reads."""
        task = Task(prompt=self.prompt, payload=self.payload, learning_key=self.learning_key)
        attempts = (Attempt(output=self.answer),)
        return Session(
            id=new_id(), task=task, status="succeeded", answer=self.answer, attempts=attempts, created_at=now()
        )


class Scorer:
    """Scores pieces and whole sessions: many at once, each content once, within a budget of tokens.

    A piece whose judges failed, or for which no budget was left, has a reward without a value, and is asked again the
    next time; it is never a zero.
    """

    def __init__(self, rewarder: Rewarder, *, at_once: int = 8, max_tokens: int | None = None) -> None:
        """`max_tokens` bounds all calls of this scorer's life together; calls under way when it is spent still end."""
        self._rewarder = rewarder
        self._gate = asyncio.Semaphore(at_once)
        self._max_tokens = max_tokens
        self._scored: dict[str, asyncio.Task[Reward]] = {}
        self.tokens = 0
        """Tokens spent so far."""
        self.calls = 0
        """Model calls so far."""

    async def score(self, pieces: Sequence[Piece], *, told: Callable[[], object] = lambda: None) -> list[Reward]:
        """One reward for each piece, in order; `told` is called after each."""

        async def one(piece: Piece) -> Reward:
            try:
                return await self._once(piece)
            finally:
                told()

        return await asyncio.gather(*map(one, pieces))

    async def score_session(self, session: Session) -> Reward:
        """The reward of a whole session with everything in it, attempts and tools included; not cached."""
        async with self._gate:
            left = None if self._max_tokens is None else max(0, self._max_tokens - self.tokens)
            return await self._rewarder.reward(session, Caller(_Tally(session.id, self), max_tokens=left))

    async def _once(self, piece: Piece) -> Reward:
        key = piece.identity
        running = self._scored.get(key)
        if running is None:
            running = asyncio.create_task(self.score_session(piece.session()))
            self._scored[key] = running
        try:
            reward = await asyncio.shield(running)
        except BaseException:
            if running.done():
                self._scored.pop(key, None)
            raise
        if reward.value is None:
            self._scored.pop(key, None)
        return reward


class _Tally:
    """A trace that counts what is spent and keeps nothing else."""

    def __init__(self, session_id: str, scorer: Scorer) -> None:
        self.session_id = session_id
        self._scorer = scorer
        self._seq = 0

    async def record(self, body: Body) -> Event:
        if isinstance(body, ModelCalled):
            self._scorer.tokens += body.completion.usage.tokens
            self._scorer.calls += 1
        self._seq += 1
        return Event(session_id=self.session_id, seq=self._seq, at=now(), body=body)
