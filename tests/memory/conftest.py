"""Entries, sessions and a trace for the tests of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atlas.models import Caller
from atlas.schema import Attempt, Body, Cue, Entry, Event, Playbook, Reward, Session, Task, new_id, now


class KeptTrace:
    """Keeps events in memory, as the runtime's trace does before the store has them."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.events: list[Event] = []

    async def record(self, body: Body) -> Event:
        event = Event(session_id=self.session_id, seq=len(self.events) + 1, at=now(), body=body)
        self.events.append(event)
        return event

    def kinds(self) -> list[str]:
        return [event.body.type for event in self.events]


@pytest.fixture
def trace() -> KeptTrace:
    return KeptTrace("0190a000-0000-7000-8000-000000000001")


@pytest.fixture
def caller(trace: KeptTrace) -> Caller:
    return Caller(trace)


@pytest.fixture
def entry_of() -> Callable[..., Entry]:
    """An entry in trial, unless told otherwise; `cue` is its text."""

    def make(cue: str = "refund", action: str = "use pay(id, sum)", **fields: Any) -> Entry:
        return Entry(
            id=fields.pop("id", f"{cue}/{action}"),
            audience=fields.pop("audience", "student"),
            cue=Cue(text=cue) if cue else Cue(kind="always"),
            action=action,
            state=fields.pop("state", "trial"),
            **fields,
        )

    return make


@pytest.fixture
def book_of() -> Callable[..., Playbook]:
    """A student's playbook of version 3 with these entries."""

    def make(*entries: Entry, **fields: Any) -> Playbook:
        defaults: dict[str, Any] = {"key": "default", "audience": "student", "version": 3}
        return Playbook(entries=entries, **(defaults | fields))

    return make


@pytest.fixture
def session_of() -> Callable[..., Session]:
    """A judged session; by default a first try that an executed check called right."""

    def make(value: float | None = 1.0, source: str = "check", **fields: Any) -> Session:
        return Session(
            id=fields.pop("id", new_id()),
            task=fields.pop("task", Task(prompt="Please refund order 7.")),
            status="succeeded",
            answer="done",
            attempts=fields.pop("attempts", (Attempt(output="done"),)),
            reward=fields.pop("reward", Reward(value=value, source=source if value is not None else "none")),
            created_at=now(),
            **fields,
        )

    return make
