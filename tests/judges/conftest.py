"""A recorded session to judge, and a trace that keeps what the judges record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atlas.models import Caller
from atlas.schema import Attempt, Body, Event, Session, Task, new_id, now


class KeptTrace:
    """Keeps events in memory, as the runtime's trace does before the store has them."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.bodies: list[Body] = []

    async def record(self, body: Body) -> Event:
        self.bodies.append(body)
        return Event(session_id=self.session_id, seq=len(self.bodies), at=now(), body=body)

    def kinds(self) -> list[str]:
        return [body.type for body in self.bodies]


@pytest.fixture
def trace() -> KeptTrace:
    return KeptTrace("0190a000-0000-7000-8000-000000000001")


@pytest.fixture
def caller(trace: KeptTrace) -> Caller:
    return Caller(trace)


@pytest.fixture
def session_of(trace: KeptTrace) -> Callable[..., Session]:
    """A finished session with one attempt that gave the answer, unless told otherwise."""

    def make(answer: str | None = "42", payload: dict[str, Any] | None = None, **fields: Any) -> Session:
        attempts = fields.pop("attempts", (Attempt(output=answer or ""),))
        return Session(
            id=fields.pop("id", trace.session_id or new_id()),
            task=fields.pop("task", Task(prompt="What is 6 x 7?", payload=payload or {})),
            status="succeeded",
            answer=answer,
            attempts=attempts,
            created_at=now(),
            **fields,
        )

    return make
