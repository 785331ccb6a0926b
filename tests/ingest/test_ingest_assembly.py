"""Traces arrive in pieces, twice, out of order, or never whole; each becomes one session and every span is counted."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ingest_kit import QUICK, TRACE, request_of, span
from ingest_traces import ANSWER, genai, openinference

from atlas.ingest import Ingest, IngestRules, Spool
from atlas.ingest.otlp_json import read_json
from atlas.schema import Event
from atlas.schema.errors import ConfigError, StoreUnavailable
from atlas.store import MemoryStore, safety_of
from atlas.store.open import open_postgres
from atlas.store.postgres import PgStore

Serve = Callable[..., Any]
SLOW = IngestRules(whole_s=30, gap_s=30, quiet_s=30)


@pytest.fixture
async def pg(url: str, tmp_path: Path) -> AsyncIterator[PgStore]:
    opened = await open_postgres(url, folder=tmp_path)
    yield opened
    await opened.close()


async def test_any_order_and_any_split_give_the_same_events(serve: Serve) -> None:
    told: list[list[Event]] = []
    for order in itertools.permutations(genai()):
        client = await serve()
        for each in order:
            await client.send(each)
        told.append(await client.store.events((await client.session()).id))
        assert client.ingest.taken().sessions == 1
    assert all(events == told[0] for events in told)


async def test_a_trace_that_is_sent_twice_is_one_session(serve: Serve) -> None:
    client = await serve()
    for _ in range(3):
        assert await client.send(*genai()) == {}
        assert len(await client.sessions()) == 1
    taken = client.ingest.taken()
    assert (taken.accepted, taken.stored, taken.refused, taken.sessions) == (12, 12, 0, 1)


async def test_a_second_receiver_on_the_same_database_writes_nothing_new(serve: Serve, pg: PgStore) -> None:
    trace = f"{random.getrandbits(128):032x}"
    spans = [each | {"traceId": trace} for each in genai()]
    for _ in range(2):
        client = await serve(pg)
        await client.send(*random.sample(spans, len(spans)))
        await client.sessions()
    mine = [session for session in await client.sessions() if session.metadata["trace_id"] == trace]
    assert len(mine) == 1
    assert (await pg.flush()).refused == 0


async def test_a_session_that_is_stored_already_is_not_overwritten(serve: Serve) -> None:
    store = MemoryStore()
    first = await serve(store)
    await first.send(*genai())
    told = await store.events((await first.session()).id)
    second = await serve(store)
    await second.send(*genai()[1:])
    await second.sessions()
    assert second.ingest.taken().refused == 3
    assert await store.events(told[0].session_id) == told
    assert (await store.flush()).refused == 0


async def test_without_its_root_a_trace_is_taken_after_a_quiet_time(serve: Serve) -> None:
    client = await serve()
    await client.send(*genai()[:-1])
    await asyncio.sleep(QUICK.whole_s * 2)
    assert client.ingest.taken().waiting == 3
    session = await client.session()
    assert (session.answer, session.status) == (ANSWER, "succeeded")
    assert session.metadata["trace_id"] == TRACE


async def test_a_missing_parent_in_the_middle_delays_but_loses_nothing(serve: Serve) -> None:
    client = await serve()
    spans = [each | {"parentSpanId": "00000000000000ee"} if each["spanId"].endswith("3") else each for each in genai()]
    await client.send(*spans)
    await asyncio.sleep(QUICK.whole_s * 2)
    assert client.ingest.taken().waiting == 4
    assert len((await client.session()).attempts[0].tools) == 1


async def test_parents_that_go_round_in_a_circle(serve: Serve) -> None:
    client = await serve()
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "input.value": "q", "output.value": "a"}
    await client.send(span(2, chat, parent=3), span(3, chat, parent=2), span(4, chat, parent=4))
    assert (await client.session()).answer == "a"


async def test_of_two_spans_with_one_id_the_same_one_is_kept_in_any_order(serve: Serve) -> None:
    answers = []
    early, late = genai()[-1], genai()[-1] | {"endTimeUnixNano": str(int(genai()[-1]["endTimeUnixNano"]) + 10**9)}
    for order in ((early, late), (late, early)):
        client = await serve()
        await client.send(*genai()[:-1], *order)
        answers.append((await client.session()).finished_at)
    assert answers[0] == answers[1]


async def test_a_trace_without_an_agent_is_refused_and_counted(serve: Serve) -> None:
    client = await serve()
    await client.send(span(1, {"http.route": "/"}), span(2, {"db.system": "postgresql"}))
    assert await client.sessions() == []
    taken = client.ingest.taken()
    assert (taken.accepted, taken.refused, taken.stored) == (2, 2, 0)


async def test_traces_do_not_mix(serve: Serve) -> None:
    client = await serve(rules=SLOW)
    spans = [each | {"traceId": f"{number:032x}"} for number in range(1, 101) for each in genai()]
    random.shuffle(spans)
    batches = [spans[start : start + 37] for start in range(0, len(spans), 37)]
    await asyncio.gather(*(client.send(*batch) for batch in batches))
    await client.ingest.settle()
    sessions = await client.sessions()
    assert len({session.id for session in sessions}) == len(sessions) == 100
    assert {session.answer for session in sessions} == {ANSWER}


async def test_closing_takes_what_waits() -> None:
    store = MemoryStore()
    ingest = Ingest(store, Spool(None), SLOW)
    await ingest.open()
    delivery = read_json(json.dumps(request_of(*genai())).encode())
    await ingest.take(delivery, size=1000)
    taken = await ingest.close()
    assert (taken.stored, taken.waiting, taken.sessions) == (4, 0, 1)
    assert [row.status async for row in store.sessions()] == ["succeeded"]


class Away(MemoryStore):
    """A store that cannot be reached for a while."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def append(self, events: Sequence[Event]) -> None:
        self.times -= 1
        if self.times >= 0:
            raise StoreUnavailable("The database is away.")
        await super().append(events)


async def test_what_the_store_does_not_take_waits_and_is_offered_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.ingest.assembly.RETRY_S", 0.05)
    client = await serve(Away(2))
    await client.send(*genai())
    await asyncio.sleep(QUICK.whole_s * 1.5)
    assert client.ingest.taken().waiting == 4
    assert (await client.session()).answer == ANSWER


async def test_too_much_that_waits_sends_the_sender_away_for_a_while(serve: Serve) -> None:
    client = await serve(rules=SLOW.model_copy(update={"most_waiting_bytes": 1000}))
    await client.send(*genai())
    body = json.dumps(request_of(*openinference())).encode()
    status, said = await client.post(body)
    assert (status, b"wait" in said) == (503, True)
    assert client.ingest.taken().accepted == 4


async def test_a_trace_of_too_many_spans_is_cut(serve: Serve) -> None:
    client = await serve(rules=QUICK.model_copy(update={"most_spans": 2}))
    said = await client.send(*genai())
    assert said["partialSuccess"]["rejectedSpans"] == "2"


def waiting(folder: Path) -> list[Path]:
    return list(folder.glob("*.spans"))


def cut_off(ledger: Path) -> None:
    ledger.write_text(ledger.read_text() + '{"trace_id": "cut o')


async def test_a_spool_belongs_to_one_receiver_and_outlives_it(serve: Serve, tmp_path: Path) -> None:
    client = await serve(folder=tmp_path, rules=SLOW)
    await client.send(*genai()[:2])
    assert len(waiting(tmp_path)) == 1
    with pytest.raises(ConfigError, match="Another receiver"):
        Spool(tmp_path)
    client.ingest._spool.close()  # as if the process had died
    again = await serve(folder=tmp_path)
    assert again.ingest.taken().waiting == 2
    await again.send(*genai()[2:])
    assert (await again.session()).answer == ANSWER
    assert not waiting(tmp_path)


async def test_stored_traces_are_known_after_a_restart(serve: Serve, tmp_path: Path) -> None:
    store = MemoryStore()
    client = await serve(store, folder=tmp_path)
    await client.send(*genai())
    await client.session()
    client.ingest._spool.close()
    cut_off(tmp_path / "settled.jsonl")
    again = await serve(store, folder=tmp_path)
    await again.send(*genai()[:1])
    assert len(await again.sessions()) == 1
    assert again.ingest.taken().stored == 1


async def test_secrets_are_not_written_down_and_a_second_delivery_still_changes_nothing(
    serve: Serve, pg: PgStore, tmp_path: Path
) -> None:
    key, trace = "sk-" + "a1B2" * 10, f"{random.getrandbits(128):032x}"
    text = json.dumps([each | {"traceId": trace} for each in genai()]).replace(
        "Is it raining", f"With {key} say: is it"
    )
    for round_ in ("first", "second"):
        folder = tmp_path / round_
        client = await serve(pg, folder=folder, rules=SLOW, clean=safety_of().boundary.noun)
        await client.send(*json.loads(text))
        (file,) = waiting(folder)
        assert key not in file.read_text()
        await client.ingest.settle()
        assert client.ingest.taken().stored == 4
    mine = [session for session in await client.sessions() if session.metadata["trace_id"] == trace]
    assert len(mine) == 1
    assert key not in mine[0].model_dump_json()
    assert (await pg.flush()).refused == 0


async def test_without_content_capture_only_the_shape_is_kept(serve: Serve, tmp_path: Path) -> None:
    client = await serve(folder=tmp_path, rules=SLOW.model_copy(update={"capture_content": False}))
    await client.send(*genai())
    (file,) = waiting(tmp_path)
    assert "raining" not in file.read_text()
    await client.ingest.settle()
    session = await client.session()
    assert "Paris" not in session.model_dump_json()
    assert session.total_usage.prompt_tokens == 40
    assert [use.call.name for use in session.attempts[0].tools] == ["weather"]
