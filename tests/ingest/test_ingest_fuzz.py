"""Whatever is sent, it is taken or refused, and what is taken can be read and stored."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Iterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_kit import PROTOBUF, as_protobuf, pairs, request_of, span
from ingest_traces import DIALECTS, genai

from atlas.ingest import Ingest, IngestRules, Receiver, Spool
from atlas.ingest.otlp_json import read_json
from atlas.ingest.spans import Unreadable
from atlas.ingest.story import session_of
from atlas.ingest.trace import Trace
from atlas.ingest.values import nested
from atlas.store import MemoryStore, Store
from atlas.store.open import open_postgres

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["\ud800", "\x00", "[", '{"role": 5}', '[{"parts": 3}]', '{"a": [1e999]}']
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
TREES = st.recursive(
    PLAIN, lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each, max_size=4), max_leaves=12
)
KNOWN = {pair["key"] for dialect in DIALECTS for each in dialect() for pair in each["attributes"]}
MORE = """llm.input_messages llm.input_messages.0 llm.input_messages.x.y llm.tools llm.prompts.0
llm.choices.0.completion gen_ai.prompt gen_ai.completion input.value atlas.step atlas.status metadata"""
NAMES = st.sampled_from(sorted(KNOWN | set(MORE.split())))
ATTRIBUTES = st.dictionaries(NAMES, TREES, max_size=8)
EVENT_NAMES = ["gen_ai.choice", "gen_ai.user.message", "gen_ai.content.prompt", "exception", "gen_ai.evaluation.result"]
EVENTS = st.tuples(
    st.sampled_from(EVENT_NAMES), ATTRIBUTES | st.fixed_dictionaries({"message": TREES, "content": TREES})
)
PATIENT = IngestRules(whole_s=60, gap_s=60, quiet_s=60)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Trace requests that are right in form and wild in content."""
    spans = []
    for number in range(1, draw(st.integers(2, 6))):
        start = draw(st.floats(0, 5))
        raw = span(
            number,
            {},
            parent=draw(st.none() | st.integers(1, 6)),
            name=draw(TEXTS),
            at=(start, start + draw(st.floats(-1, 5))),
            trace=draw(st.sampled_from(["1" * 32, "2" * 32])),
            status={"code": draw(st.sampled_from([0, 1, 2, "STATUS_CODE_ERROR"]))},
        )
        raw["attributes"] = pairs(draw(ATTRIBUTES))
        raw["events"] = [
            {"name": name, "attributes": pairs(attributes)} for name, attributes in draw(st.lists(EVENTS, max_size=2))
        ]
        spans.append(raw)
    return request_of(*spans)


class Sender:
    """One receiver for many examples, in a loop of its own; the store is replaced for each."""

    def __init__(self, opening: Awaitable[Store]) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._open(opening))

    async def _open(self, opening: Awaitable[Store]) -> None:
        self.store = await opening
        self.ingest = Ingest(self.store, Spool(None), PATIENT)
        await self.ingest.open()
        self.receiver = Receiver(self.ingest)
        self.url = f"http://127.0.0.1:{await self.receiver.open('127.0.0.1', 0)}/v1/traces"
        self.http = aiohttp.ClientSession()

    def send(self, body: bytes, content_type: str) -> int:
        return self.loop.run_until_complete(self._send(body, content_type))

    async def _send(self, body: bytes, content_type: str) -> int:
        self.ingest._spool = Spool(None)  # nothing is known from the example before
        before = self.ingest.taken()
        async with self.http.post(self.url, data=body, headers={"Content-Type": content_type}) as reply:
            await reply.read()
        taken = await self.ingest.settle()
        assert taken.waiting == 0
        assert taken.accepted == taken.stored + taken.refused
        assert reply.status == 200 or taken == before
        return reply.status

    def close(self) -> None:
        async def end() -> None:
            await self.http.close()
            await self.receiver.close()
            await self.ingest.close()
            await self.store.close()

        self.loop.run_until_complete(end())
        self.loop.close()


async def in_memory() -> Store:
    return MemoryStore()


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    opened = Sender(in_memory())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pg_sender(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    opened = Sender(open_postgres(url, folder=tmp_path_factory.mktemp("spool")))
    yield opened
    opened.close()


MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(body=TREES | st.fixed_dictionaries({"resourceSpans": TREES}))
def test_any_json_is_taken_or_refused(sender: Sender, body: Any) -> None:
    assert sender.send(json.dumps(body).encode(), "application/json") in (200, 400)


@MANY
@given(body=st.binary(max_size=200), content_type=st.sampled_from(["application/json", PROTOBUF]))
def test_any_bytes_are_taken_or_refused(sender: Sender, body: bytes, content_type: str) -> None:
    assert sender.send(body, content_type) in (200, 400)


@MANY
@given(seed=st.integers(0, 2**32), at=st.floats(0, 1), byte=st.binary(min_size=1, max_size=3))
def test_a_damaged_protobuf_is_taken_or_refused(sender: Sender, seed: int, at: float, byte: bytes) -> None:
    body = as_protobuf(*genai())
    place = int(at * (len(body) - 1))
    assert sender.send(body[:place] + byte + body[place + len(byte) :], PROTOBUF) in (200, 400)


@MANY
@given(tree=requests())
def test_any_trace_is_one_session_and_can_be_read(sender: Sender, tree: dict[str, Any]) -> None:
    before = sender.ingest.taken()
    assert sender.send(json.dumps(tree).encode(), "application/json") == 200
    after = sender.ingest.taken()
    traces = {each["traceId"] for group in tree["resourceSpans"][0]["scopeSpans"] for each in group["spans"]}
    assert after.sessions - before.sessions <= len(traces)


@settings(max_examples=40, deadline=None)
@given(tree=requests(), seed=st.randoms(use_true_random=False))
def test_arrival_does_not_matter(tree: dict[str, Any], seed: random.Random) -> None:
    spans = [each for each in read_json(json.dumps(tree).encode()).spans if each.trace_id == "1" * 32]
    shuffled = seed.sample(spans, len(spans))
    if spans:
        told = [session_of(Trace(each), tenant="t", learning_key=None) for each in (spans, shuffled)]
        assert [event.model_dump_json() for event in told[0]] == [event.model_dump_json() for event in told[1]]


@given(st.dictionaries(st.text(alphabet="p.01a", max_size=30), st.integers()))
def test_flat_names_never_fail(attributes: dict[str, int]) -> None:
    nested(attributes, "p")


def with_a_deep_value(levels: int) -> bytes:
    value = '{"arrayValue": {"values": [' * levels + "]}}" * levels
    text = json.dumps(request_of(genai()[0]))
    return text.replace('"attributes": [', '"attributes": [{"key": "deep", "value": ' + value + "}, ").encode()


def test_deep_values_are_cut() -> None:
    assert read_json(with_a_deep_value(100)).spans
    with pytest.raises(Unreadable, match="not JSON"):
        read_json(with_a_deep_value(5000))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=requests())
def test_postgres_takes_every_session(pg_sender: Sender, tree: dict[str, Any]) -> None:
    trace = uuid.uuid4().hex  # hypothesis would repeat a number of `random`
    for each in tree["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        each["traceId"] = trace
    assert pg_sender.send(json.dumps(tree).encode(), "application/json") == 200
    flushed = pg_sender.loop.run_until_complete(pg_sender.store.flush())
    assert (flushed.refused, flushed.waiting) == (0, 0)
