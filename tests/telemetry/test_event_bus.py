"""Nobody who listens can slow down or break a session."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime

import pytest

from atlas.runtime.telemetry import EVERYWHERE, EventBus, stream, subscribe
from atlas.schema import Event, Task
from atlas.schema.events import Finished, SessionStarted


def event(seq: int) -> Event:
    body = SessionStarted(task=Task(prompt="t")) if seq == 1 else Finished(status="succeeded")
    return Event(session_id="0190b7a0-0000-7000-8000-00000000000a", seq=seq, at=datetime.now(UTC), body=body)


def test_a_callback_sees_every_event_in_order() -> None:
    bus, seen = EventBus(), list[int]()
    ended: list[bool] = []
    bus.subscribe(lambda happened: seen.append(happened.seq), on_end=lambda: ended.append(True))
    for seq in range(1, 501):
        bus.publish(event(seq))
    bus.close()
    assert seen == list(range(1, 501))
    assert ended == [True]


def test_a_slow_callback_delays_nobody_and_its_losses_are_told(caplog: pytest.LogCaptureFixture) -> None:
    bus, gate = EventBus(), threading.Event()
    slow = bus.subscribe(lambda _: gate.wait(5), capacity=10)
    quick: list[int] = []
    bus.subscribe(lambda happened: quick.append(happened.seq))
    started = time.perf_counter()
    for seq in range(1, 1001):
        bus.publish(event(seq))
    assert time.perf_counter() - started < 1.0
    gate.set()
    with caplog.at_level(logging.WARNING, logger="atlas.telemetry"):
        bus.close()
    assert len(quick) == 1000
    assert 980 <= slow.dropped <= 990
    assert f"missed {slow.dropped} of 1000" in caplog.text


def test_a_callback_that_hangs_is_left_behind() -> None:
    bus, gate = EventBus(), threading.Event()
    bus.subscribe(lambda _: gate.wait(30))
    bus.publish(event(1))
    started = time.perf_counter()
    bus.close(timeout_s=0.1)
    assert time.perf_counter() - started < 1.0
    gate.set()


def test_a_raising_callback_is_told_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()

    def bad(happened: Event) -> None:
        raise RuntimeError(f"no {happened.seq}")

    with caplog.at_level(logging.WARNING, logger="atlas.telemetry"):
        subscription = bus.subscribe(bad)
        for seq in range(1, 6):
            bus.publish(event(seq))
        bus.close()
    assert subscription.failures == 5
    assert caplog.text.count("subscriber raised RuntimeError") == 1


def test_a_closed_subscription_hears_nothing_more() -> None:
    bus, seen = EventBus(), list[int]()
    subscription = bus.subscribe(lambda happened: seen.append(happened.seq))
    bus.publish(event(1))
    subscription.close()
    bus.publish(event(2))
    assert seen == [1]


def test_a_callback_may_close_its_own_subscription() -> None:
    bus, seen = EventBus(), list[int]()

    def once(happened: Event) -> None:
        seen.append(happened.seq)
        subscription.close()

    subscription = bus.subscribe(once)
    bus.publish(event(1))
    bus.close()
    assert seen == [1]


async def test_a_stream_gives_events_until_the_bus_ends() -> None:
    bus = EventBus()
    events = bus.stream()
    publisher = threading.Thread(target=lambda: [bus.publish(event(seq)) for seq in range(1, 201)])
    publisher.start()
    first = [(await anext(events)).seq for _ in range(200)]
    assert first == list(range(1, 201))
    publisher.join()
    bus.publish(event(201))
    await bus.aclose()
    assert [happened.seq async for happened in events] == [201]


async def test_a_stream_that_is_not_read_keeps_the_newest() -> None:
    bus = EventBus()
    events = bus.stream(capacity=3)
    for seq in range(1, 11):
        bus.publish(event(seq))
    events.close()
    assert [happened.seq async for happened in events] == [8, 9, 10]
    assert events.dropped == 7


def test_a_stream_whose_loop_is_gone_is_forgotten() -> None:
    bus = EventBus()

    async def make() -> None:
        bus.stream()

    asyncio.run(make())
    bus.publish(event(1))
    bus.publish(event(2))


async def test_the_whole_process_can_be_heard() -> None:
    seen: list[int] = []
    subscription, events = subscribe(lambda happened: seen.append(happened.seq)), stream()
    EventBus(parent=EVERYWHERE).publish(event(1))
    assert (await anext(events)).seq == 1
    subscription.close()
    events.close()
    assert seen == [1]
