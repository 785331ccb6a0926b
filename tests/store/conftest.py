"""One real embedded server for all tests of the store, and sessions to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Dossier,
    Event,
    Message,
    Recalled,
    Request,
    Review,
    Reward,
    Route,
    Task,
    Usage,
    Verdict,
    new_id,
    now,
)
from atlas.schema.events import (
    Answered,
    Attempted,
    Finished,
    Judged,
    MemoryRecalled,
    ModelCalled,
    Reviewed,
    Rewarded,
    Routed,
    SessionStarted,
    Triaged,
)
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore

ANSWER = "The invoice amounts add up to sixty; I checked the sum a second time from the other end."
Tell = Callable[..., list[Event]]


@pytest.fixture(scope="session")
def url(server: str) -> str:
    """The address of the server that runs as long as the tests do; its tables are shared."""
    return server


@pytest.fixture
async def store(url: str, tmp_path: Path) -> AsyncIterator[PgStore]:
    """A store on the shared server, with a spool of its own."""
    opened = await open_postgres(url, folder=tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
def tell() -> Tell:
    """A whole session as events: auto lane, judged, answer repeated in prompts as roles do."""
    return tell_session


def tell_session(
    *, session_id: str | None = None, key: str = "sums", answer: str = ANSWER, bodies: list[Body] | None = None
) -> list[Event]:
    uid = session_id or new_id()
    return [
        Event(session_id=uid, seq=seq, at=now(), body=body)
        for seq, body in enumerate(bodies or story(key, answer), start=1)
    ]


def story(key: str, answer: str) -> list[Body]:
    prompt = "Add up the invoice amounts 10, 20 and 30 and report the total. Answer in one line, please."
    verdict = Verdict(judge="rubric", score=0.9, rationale="Right total.", student_note="Recompute totals.")
    return [
        SessionStarted(task=Task(prompt=prompt, learning_key=key, payload={"case": 1}), metadata={"team": "blue"}),
        MemoryRecalled(
            student=Recalled(audience="student", version=0), teacher=Recalled(audience="teacher", version=0)
        ),
        Triaged(dossier=Dossier(summary="a sum")),
        Routed(route=Route(lane="auto", confidence=0.9, source="history", reason="it went well before")),
        called("student", "answer", [prompt], answer),
        Attempted(attempt=Attempt(output=answer)),
        called("teacher", "verify", [f"<task a1>\n{prompt}\n</task a1>\n<work a1>\n{answer}\n</work a1>"], "accepted"),
        Reviewed(review=Review(target="answer", accepted=True)),
        Answered(answer=answer, accepted=True),
        Finished(status="succeeded"),
        called("judge", "judge", [f"<answer b2>\n{answer}\n</answer b2>"], '{"score": 0.9}'),
        Judged(verdict=verdict),
        Rewarded(reward=Reward(value=0.9, uncertainty=0.1, source="judges", verdicts=(verdict,))),
    ]


def called(actor: str, purpose: str, prompts: list[str], answer: str) -> ModelCalled:
    return ModelCalled.model_validate(
        {
            "actor": actor,
            "purpose": purpose,
            "model": "scripted:one",
            "request_hash": "0" * 64,
            "request": Request(messages=tuple(Message(role="user", content=prompt) for prompt in prompts)),
            "completion": Completion(
                message=Message(role="assistant", content=answer),
                usage=Usage(calls=1, prompt_tokens=20, completion_tokens=5, cost_usd=0.001),
            ),
            "latency_s": 0.25,
        }
    )
