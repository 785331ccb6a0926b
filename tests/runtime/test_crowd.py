"""Thousands of sessions in one process must not hold its event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.config import AtlasConfig
from atlas.runtime import open_runtime, pauses
from atlas.runtime.pauses import CROWD, Pauses
from atlas.runtime.runtime import DOOR
from atlas.schema import Task


@pytest.fixture(autouse=True)
def same_thresholds_after() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    assert gc.get_threshold() == before
    gc.set_threshold(*before)


async def test_full_collections_wait_while_a_crowd_is_in_flight() -> None:
    before = gc.get_threshold()
    one, other = Pauses(), Pauses()
    one.crowd(CROWD)
    assert gc.get_threshold() == before
    one.crowd(CROWD + 1)
    other.crowd(CROWD + 1)
    assert gc.get_threshold()[2] > 1_000_000
    one.crowd(0)
    assert gc.get_threshold()[2] > 1_000_000, "another runtime's crowd is still there"
    other.crowd(CROWD // 2)
    assert gc.get_threshold() == before


async def test_a_lasting_crowd_is_collected_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "PERIOD_S", 0.01)
    full = gc.get_stats()[2]["collections"]
    crowd = Pauses()
    crowd.crowd(CROWD + 1)
    for _ in range(500):
        if gc.get_stats()[2]["collections"] >= full + 2:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("no second full collection in five seconds")
    crowd.crowd(0)


async def test_a_collector_that_the_user_switched_off_is_left_alone() -> None:
    gc.disable()
    try:
        crowd = Pauses()
        crowd.crowd(CROWD + 1)
        assert gc.get_threshold()[2] < 1_000_000
        crowd.crowd(0)
    finally:
        gc.enable()


async def test_sessions_that_start_at_once_let_others_take_their_turn(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text('[{"when": "", "reply": "fine"}]')
    llm = {"provider": "scripted", "model": script.name}
    config = AtlasConfig.model_validate({"agent": {"type": "openai", "llm": llm}, "storage": None})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with await open_runtime(config, folder=tmp_path) as runtime:
        watching = asyncio.create_task(others())
        started = await asyncio.gather(*(runtime.start(Task(prompt=f"task {n}")) for n in range(6 * DOOR)))
        at_start = turns
        await asyncio.gather(*(running.settled() for running in started))
        watching.cancel()
    assert at_start >= 6
