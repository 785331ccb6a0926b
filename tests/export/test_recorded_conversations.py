"""Conversations that other people's models really had: stored, exported, imported, replayed and made rows of."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_kit import Bases, execute, exported

from atlas.config import RuntimeSafetyConfig
from atlas.export import open_importer, read_records
from atlas.models import ReplayModel
from atlas.models.replay import Recording, exchanges, read_recordings
from atlas.schema import Attempt, Body, Event, Reward, Route, Task, ToolUse, new_id, now
from atlas.schema.events import Answered, Attempted, Finished, ModelCalled, Rewarded, Routed, SessionStarted, ToolCalled
from atlas.store import safety_of
from atlas.store.open import open_postgres

SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared")) / "data"
FILES = ("tau2/recorded_simulations.jsonl.xz", "excytin/six_models_inc38_134.jsonl.xz")
EACH = 25
"""Conversations of each file."""


def story(recording: Recording) -> Iterator[Body]:
    """The conversation as a session: one attempt with all its calls."""
    messages = [turn.message for turn in recording.turns]
    results = {message.tool_call_id: message.content for message in messages if message.role == "tool"}
    prompt = next(message.content for message in messages if message.role == "user")
    yield SessionStarted(task=Task(prompt=prompt, learning_key=recording.model), metadata={"recording": recording.id})
    yield Routed(route=Route(lane="auto", source="forced"))
    answer, tools = "", list[ToolUse]()
    for request, completion in exchanges(recording):
        yield ModelCalled(
            actor="student",
            purpose="answer",
            model=f"recorded:{recording.model}",
            request_hash="0" * 64,
            request=request,
            completion=completion,
            latency_s=0.5,
        )
        answer = completion.message.content or answer
        for call in completion.message.tool_calls:
            use = ToolUse(call=call, output=results.get(call.id, ""))
            tools.append(use)
            yield ToolCalled(use=use, effect="none", latency_s=0.1)
    yield Attempted(attempt=Attempt(output=answer, tools=tuple(tools)))
    yield Answered(answer=answer)
    yield Finished(status="succeeded")
    yield Rewarded(reward=Reward(value=1.0, source="check"))


def sessions() -> list[list[Event]]:
    told: list[list[Event]] = []
    for name in FILES:
        if not (SHARED / name).exists():
            pytest.skip(f"THE RECORDED CONVERSATIONS ARE NOT THERE: {name}")
        for recording in itertools.islice(read_recordings(SHARED / name), EACH):
            uid = new_id()
            told.append(
                [Event(session_id=uid, seq=n, at=now(), body=body) for n, body in enumerate(story(recording), start=1)]
            )
    return told


async def test_recorded_conversations_go_in_out_and_in_again(bases: Bases, tmp_path: Path) -> None:
    told, url = sessions(), await bases.new()
    # Logs of a security team are full of what looks like keys; here every byte must come back.
    safety = safety_of(RuntimeSafetyConfig.model_validate({"redaction": {"enabled": False}}))
    store = await open_postgres(url, folder=tmp_path, safety=safety)
    for events in told:
        await store.append(events)
    counts = await store.flush(timeout_s=120)
    assert (counts.refused, counts.waiting, counts.stored) == (0, 0, sum(map(len, told)))
    for events in told:
        found = await store.events(events[0].session_id)
        assert found == events
        replay = ReplayModel.from_events(found)
        for body in (event.body for event in events):
            if isinstance(body, ModelCalled):
                assert await replay.complete(body.request, timeout_s=1) == body.completion
    await store.close()
    raw = sum(len(event.model_dump_json()) for events in told for event in events)
    (kept,) = await execute(url, "SELECT sum(length(payload::text)) AS n FROM events")
    assert kept["n"] < raw / 3  # Each call repeats the conversation so far; the store does not.

    assert (await exported(url, tmp_path / "a.jsonl")).rows == len(told)
    other = await bases.new()
    async with open_importer(other, folder=tmp_path / "import", safety=safety) as importer:
        taken = await importer.take(str(tmp_path / "a.jsonl"), lambda number, reason: None)
    assert (taken.stored, taken.refused) == (len(told), 0)
    await exported(other, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    records = {record.session_id: record for record in read_records(tmp_path / "b.jsonl")}
    for events in told:
        events_told = records[events[0].session_id].trajectory_events or ()
        assert [one.event for one in events_told] == [event.body.model_dump(mode="json") for event in events]

    await exported(url, tmp_path / "sft.jsonl", format="sft")
    rows = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text("utf-8").splitlines()]
    last = {events[0].session_id: [e.body for e in events if isinstance(e.body, ModelCalled)][-1] for events in told}
    assert len(rows) == len(told)
    for row in rows:
        call = last[row["session_id"]]
        said = [*call.request.messages, call.completion.message]
        assert [(one["role"], one["content"]) for one in row["messages"]] == [(one.role, one.content) for one in said]
