"""Learning, cost and training: the numbers of the pages against numbers worked out by hand."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_kit import Reader, called, events_of, play, put

from atlas.schema import Attempt, Body, Evidence, Message, Review, Reward, StepReward, Task, new_id, now
from atlas.schema.events import Answered, Attempted, Finished, ModelCalled, Reviewed, Rewarded, Routed, SessionStarted
from atlas.schema.policy import Policy
from atlas.schema.task import Route
from atlas.store.ledger import Ledger, RunRow
from atlas.store.postgres import PgStore
from atlas.store.progress import Point, Shares, Tries
from atlas.train.manifest import Manifest, write_manifest
from atlas.viewer.curves import not_worse, parts, saving


def session(reward: float, *, first: float | None = None, tokens: int = 100, lane: str = "paired") -> list[Body]:
    steps = () if first is None else (StepReward(step=0, attempt=1, value=first),)
    call = called("student", "answer", "hello")
    usage = call.completion.usage.model_copy(update={"prompt_tokens": tokens - 20, "completion_tokens": 20})
    call = call.model_copy(update={"completion": call.completion.model_copy(update={"usage": usage})})
    return [
        SessionStarted(task=Task(prompt="say hello", learning_key="greet"), policy="student=one"),
        Routed(route=Route.model_validate({"lane": lane})),
        call,
        Attempted(attempt=Attempt(output="hello")),
        called("teacher", "verify", "hello"),
        Reviewed(review=Review(target="answer", accepted=True)),
        Answered(answer="hello", accepted=True),
        Finished(status="succeeded"),
        Rewarded(reward=Reward(value=reward, source="check", steps=steps)),
    ]


async def stream(store: PgStore, *bodies: list[Body]) -> None:
    start = now() - timedelta(hours=1)
    for n, one in enumerate(bodies):
        await put(store, events_of(one, at=start + timedelta(seconds=n)))


async def test_a_curve_says_what_was_stored(store: PgStore, reader: Reader) -> None:
    early = [session(0.0, tokens=400) for _ in range(12)]
    late = [session(1.0, tokens=100) for _ in range(18)]
    await stream(store, *early, *late)
    (key,) = (await reader.json("/learning"))["keys"]
    assert (key["key"], key["sessions"], key["reward"]) == ("greet", 30, pytest.approx(18 / 30))
    page = await reader.json("/learning", key="greet")
    assert [part["sessions"] for part in page["parts"]] == [10, 10, 10]
    assert [part["reward"]["mean"] for part in page["parts"]] == pytest.approx([0.0, 0.8, 1.0])
    assert page["parts"][0]["tax"] == pytest.approx(120 / 400)
    assert page["saving"]["baseline"]["mean"] == 520
    assert page["saving"]["saved"]["mean"] == pytest.approx(520 - (2 * 520 + 18 * 220) / 20)
    assert page["not_worse"] is None
    assert "Non-degradation" in await reader.page("/learning", key="greet")


async def test_non_degradation_is_about_supervised_sessions_with_a_read_first_try(
    store: PgStore, reader: Reader
) -> None:
    await stream(
        store,
        *[session(1.0, first=0.0) for _ in range(3)],
        *[session(1.0, first=1.0) for _ in range(5)],
        session(0.0, first=1.0),
        session(1.0),
        *[session(1.0, first=1.0, lane="auto") for _ in range(7)],
    )
    found = (await reader.json("/learning", key="greet"))["not_worse"]
    assert (found["rate"]["n"], found["better"], found["worse"]) == (9, 3, 1)
    assert found["rate"]["mean"] == pytest.approx(8 / 9)
    assert found["rate"]["low"] < 8 / 9 < found["rate"]["high"]


async def test_a_key_that_is_not_there(reader: Reader) -> None:
    assert "Nothing has run yet" in await reader.page("/learning")
    assert "message" in await reader.json("/learning", expect=404, key="greet")


def point(tokens: int, reward: float | None = None) -> Point:
    return Point(uid=uuid.uuid4(), at=now(), lane="auto", reward=reward, tokens=tokens, cost_usd=None, policy="")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=400))
def test_parts_hold_every_session_once(tokens: list[int]) -> None:
    points = [point(one, 0.5) for one in tokens]
    found = parts(points, {points[0].uid: Shares(student=0, others=5)})
    assert sum(part.sessions for part in found) == len(points)
    assert len(found) <= 24
    assert [part.start for part in found] == sorted({part.start for part in found})
    assert all(part.tokens.low <= part.tokens.mean <= part.tokens.high for part in found)
    assert found[0].tax is None


def test_a_saving_needs_both_sides() -> None:
    some = [point(100) for _ in range(15)]
    assert saving(some, some) is None
    assert saving(some[:5], some) is None
    told = saving(some[:10], [*some, *[point(50) for _ in range(10)]])
    assert told is not None
    assert told.saved.n == 15
    assert told.saved.low <= told.saved.mean <= told.saved.high


def test_without_pairs_nothing_is_said() -> None:
    assert not_worse({}) is None
    assert not_worse({uuid.uuid4(): Tries(first=None, final=1.0)}) is None


# --- training


def manifest(**changes: Any) -> Manifest:
    made = {
        "id": str(uuid.uuid4()),
        "method": "sft",
        "role": "student",
        "status": "succeeded",
        "config": {"steps": 3},
        "seed": 1,
        "source": "atlas://.atlas",
        "data": "d" * 64,
        "examples": 4,
        "sessions": (),
        "base": "pocket-student",
        "base_sha256": "b" * 64,
        "git": None,
        "versions": {"python": "3.11"},
        "processes": 1,
        "started_at": datetime(2026, 3, 1, tzinfo=UTC),
        "metrics": {"loss": 0.25},
    }
    return Manifest.model_validate(made | changes)


def logged(folder: Path, steps: int) -> None:
    lines = [
        json.dumps({"step": n, "loss": 1 / n, "lr": 0.1, "metrics": {"imitate": 1 / n}}) for n in range(1, steps + 1)
    ]
    (folder / "log.jsonl").write_text("\n".join([*lines, '{"step": 9']))


async def test_runs_with_their_curves_and_lineage(store: PgStore, reader: Reader, tmp_path: Path) -> None:
    uid = await play(store)
    assert "There is no run" in await reader.page("/training")
    write_manifest(tmp_path / "runs" / "one", manifest(sessions=(uid,)))
    logged(tmp_path / "runs" / "one", 8)
    write_manifest(tmp_path / "runs" / "two", manifest(status="running", started_at=datetime(2026, 4, 1, tzinfo=UTC)))
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    (tmp_path / "runs" / "notes").mkdir()
    page = await reader.json("/training")
    assert [(run["name"], run["steps"]) for run in page["runs"]] == [("two", 0), ("one", 8)]
    assert [one["name"] for one in page["broken"]] == ["broken"]
    run = await reader.json("/training/runs/one")
    assert [chart["title"] for chart in run["charts"]] == ["loss", "imitate"]
    assert run["charts"][0]["lines"][0]["values"][:2] == [1.0, 0.5]
    assert uid in await reader.page("/training/runs/one")
    assert (await reader.json(f"/sessions/{uid}/training"))["trained"] == ["one"]
    assert 'hx-trigger="every 2s"' in await reader.page("/training/runs/two")
    for name in ("three", "..", "%2e%2e", "..%2fruns%2fone"):
        assert "message" in await reader.json(f"/training/runs/{name}", expect=404)


async def test_checkpoints_in_the_loop_and_runs_of_other_machines(store: PgStore, reader: Reader, url: str) -> None:
    run, policy = manifest(id=new_id(), checkpoint="final"), new_id()
    admin = await asyncpg.connect(url)
    ledger = Ledger(admin, "here")
    row = {name: getattr(run, name) for name in RunRow.model_fields if name != "manifest"}
    await ledger.put_run(RunRow(**row, manifest=run.model_dump(mode="json")))
    evidence = Evidence(pairs=8, pair_gain=2.0, pair_square=2.0, log_e_help=3.0)
    await ledger.put_policies(
        [Policy(id=policy, role="teacher", sha256="c" * 64, source="runs/x", run=run.id, evidence=evidence)]
    )
    await admin.close()
    page = await reader.json("/training")
    assert [(one["name"], one["here"]) for one in page["runs"]] == [(run.id, False)]
    (deployed,) = page["deployed"]
    assert (deployed["policy"]["state"], deployed["effect"]["pair_gain"]) == ("canary", 0.25)
    text = await reader.page("/training")
    assert f"atlas deploy promote {policy}" in text
    assert f"/training/runs/{run.id}" in text
    assert "not below the folder of runs here" in await reader.page(f"/training/runs/{run.id}")


async def test_what_served(store: PgStore, reader: Reader) -> None:
    await stream(store, session(1.0), session(0.0))
    (served,) = (await reader.json("/training"))["served"]
    assert (served["line"]["policy"], served["line"]["sessions"]) == ("student=one", 2)
    assert served["reward"]["mean"] == 0.5


async def test_the_row_of_a_session_is_the_row_a_trainer_reads(store: PgStore, reader: Reader, url: str) -> None:
    """The pages show the same tokens and the same mask as the trainer's own reading of the database."""
    from atlas.train import Codec, DataConfig, checkpoint_folder, read_examples, serving_name

    call = called("student", "answer", "hello")
    request = call.request.model_copy(update={"messages": (Message(role="user", content="say hello"),)})
    bodies = [body if not isinstance(body, ModelCalled) or body.actor != "student" else call for body in session(1.0)]
    bodies = [one.model_copy(update={"request": request}) if one is call else one for one in bodies]
    uid = await put(store, events_of(bodies))
    page = await reader.json(f"/sessions/{uid}/training")
    assert "only approved sessions" in page["why_not"]
    student = page["roles"][0]
    (row,) = student["rows"]
    read = await read_examples(url, DataConfig(reviews=None, eval_ratio=0.0), role="student", take="imitate")
    if not read.examples:  # Approved sessions alone unless told otherwise.
        read = await read_examples(url, DataConfig(reviews=("pending",)), role="student", take="imitate")
    codec = Codec.load(checkpoint_folder("pocket-student"), name=serving_name("pocket-student"))
    (sample,) = codec.rows(read.examples[0])
    assert (row["tokens"], row["learnt"]) == (len(sample.ids), sample.learnt)
    learnt = "".join(piece["text"] for piece in row["stretches"] if piece["learnt"])
    assert learnt == "".join(codec.tokenizer.decode(sample.ids[start:stop]) for start, stop in sample.learn)
    assert "hello" in learnt
    assert "say" not in learnt


async def test_a_session_without_a_reward_teaches_nothing(store: PgStore, reader: Reader) -> None:
    uid = await play(store, reward=None)
    page = await reader.json(f"/sessions/{uid}/training")
    assert "no reward" in page["why_not"]
    assert [role["rows"] for role in page["roles"]] == [[], []]
