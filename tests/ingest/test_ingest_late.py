"""What comes after its trace became a session is added to it: calls and the answer, once, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_kit import request_of, span
from ingest_traces import ANSWER, genai, openinference, openllmetry

from atlas.ingest.late import late_events, settled_of, tells_more
from atlas.ingest.otlp_json import read_json
from atlas.ingest.spans import Span
from atlas.ingest.story import session_of
from atlas.ingest.trace import Trace
from atlas.schema import Event, Session, rebuild
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore

Serve = Callable[..., Any]


@pytest.fixture
async def pg(url: str, tmp_path: Path) -> AsyncIterator[PgStore]:
    opened = await open_postgres(url, folder=tmp_path)
    yield opened
    await opened.close()


def calls(session_events: list[Event]) -> list[tuple[str, object]]:
    """The calls with their times, whatever their order."""
    kinds = ("model_called", "model_failed", "tool_called")
    return sorted((event.body.type, event.at) for event in session_events if event.body.type in kinds)


async def whole(serve: Serve) -> tuple[Session, list[Event]]:
    client = await serve()
    await client.send(*genai())
    session = await client.session()
    return session, await client.store.events(session.id)


async def test_a_late_call_is_added_at_the_end(serve: Serve, pg: PgStore) -> None:
    trace = "1af7651916cd43dd8448eb211c80319c"
    spans = [each | {"traceId": trace} for each in genai()]
    client = await serve(pg)
    await client.send(*spans[1:])
    (before,) = [one for one in await client.sessions() if one.metadata["trace_id"] == trace]
    assert await client.send(*spans) == {}
    (after,) = [one for one in await client.sessions() if one.metadata["trace_id"] == trace]
    told, events = await whole(serve)
    found = await pg.events(after.id)
    assert calls(found) == calls(events)
    assert after.total_usage == told.total_usage != before.total_usage
    assert (after.answer, after.status, after.finished_at) == (ANSWER, "succeeded", told.finished_at)
    (row,) = [row async for row in pg.sessions() if row.id == after.id]
    assert (row.tokens, row.status) == (told.total_usage.tokens, "succeeded")
    taken = client.ingest.taken()
    assert (taken.accepted, taken.stored, taken.refused, taken.sessions) == (7, 7, 0, 1)
    await client.send(*spans)
    await client.sessions()
    assert await pg.events(after.id) == found


async def test_a_root_that_comes_late_brings_its_answer_and_its_end(serve: Serve) -> None:
    told, _ = await whole(serve)
    client = await serve()
    await client.send(*genai()[:1])
    early = await client.session()
    assert early.answer != ANSWER
    await client.send(*genai()[1:])
    late = await client.session()
    assert (late.answer, late.status, late.total_usage) == (ANSWER, told.status, told.total_usage)
    assert late.attempts[-1].output == ANSWER
    assert [use.call.name for use in late.attempts[-1].tools] == [use.call.name for use in told.attempts[-1].tools]


async def test_late_spans_survive_a_restart_of_the_receiver(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "spans"
    client = await serve(folder=folder)
    await client.send(*genai()[1:])
    store, uid = client.store, (await client.session()).id
    await client.ingest.close()
    client = await serve(store, folder=folder)
    assert await client.send(*genai()[:1]) == {}
    await client.sessions()
    assert calls(await store.events(uid)) == calls((await whole(serve))[1])


async def test_what_is_no_call_is_refused_and_the_sender_is_told(serve: Serve) -> None:
    client = await serve()
    await client.send(*genai())
    before = await client.store.events((await client.session()).id)
    said = await client.send(span(77, {"db.system": "postgresql"}), *genai())
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    assert "too late" in said["partialSuccess"]["errorMessage"]
    await client.sessions()
    assert await client.store.events(before[0].session_id) == before


async def test_a_call_that_another_instrumentation_told_is_not_told_twice(serve: Serve) -> None:
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 20}
    client = await serve()
    await client.send(*genai())
    session = await client.session()
    model = next(each for each in genai() if b"chat" in json.dumps(each["attributes"]).encode())
    inner = span(88, chat, parent=int(model["spanId"], 16), at=(0.2, 0.3))
    assert (await client.send(inner))["partialSuccess"]["rejectedSpans"] == "1"
    assert (await client.session()).total_usage == session.total_usage


def spans_of(told: list[dict[str, Any]]) -> list[Span]:
    return list(read_json(json.dumps(request_of(*told)).encode()).spans)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([genai, openinference, openllmetry]), st.data())
def test_any_split_in_two_tells_the_same_calls_and_the_same_end(
    dialect: Callable[[], list[dict[str, Any]]], data: st.DataObject
) -> None:
    """However a trace is torn apart; and what was added once is not added again."""
    spans = spans_of(dialect())
    first = data.draw(st.lists(st.sampled_from(spans), min_size=1, unique_by=lambda one: one.span_id))
    early = Trace(first)
    if not early.tells_of_an_agent:
        return
    known = session_of(early, tenant="default", learning_key="k")
    settled = settled_of(early, known[0].session_id)
    late = [one for one in spans if one not in first and tells_more(settled, one)]
    if late:
        known += late_events(known, Trace(late))
        assert late_events(known, Trace(late)) == []
    together = session_of(Trace(spans), tenant="default", learning_key="k")
    assert [event.seq for event in known] == list(range(1, len(known) + 1))
    told, whole = rebuild(known), rebuild(together)
    assert told.total_usage == whole.total_usage
    assert (told.answer, told.status) == (whole.answer, whole.status)
    kinds = ("model_called", "tool_called")
    assert [sum(e.body.type == kind for e in known) for kind in kinds] == [
        sum(e.body.type == kind for e in together) for kind in kinds
    ]
