"""What comes back in: the same bytes out again, nothing reviewed, and no line that is not a record."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from export_kit import Bases, approve, execute, exported, imported, records_of, store_bodies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.export import Selection, open_importer, read_records
from atlas.export.lines import json_of
from atlas.export.reading import Refused, parsed
from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Message,
    Request,
    Review,
    Reward,
    Session,
    Task,
    ToolCall,
    ToolUse,
    Usage,
    Verdict,
)
from atlas.schema.errors import ConfigError
from atlas.schema.events import Answered, Attempted, Finished, ModelCalled, Reviewed, Rewarded, SessionStarted
from atlas.store.boundary import safety_of
from atlas.store.pooling import ESC

Filled = tuple[str, dict[str, Session]]
PLANTED = "sk-proj-4f9aXq81LmZ03bTrWc77QpYv5NdK2sGh6JeUo9"


@pytest.fixture(scope="session")
def lines(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of an export of every kind of session."""
    output = tmp_path_factory.mktemp("lines") / "a.jsonl"
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(lambda: asyncio.run(exported(filled[0], output))).result()
    return output.read_text("utf-8").splitlines()


async def test_a_second_export_has_the_same_bytes(filled: Filled, bases: Bases, tmp_path: Path) -> None:
    await exported(filled[0], tmp_path / "first.jsonl.gz")
    second = await bases.new()
    told, reasons = await imported(second, tmp_path / "first.jsonl.gz", tmp_path)
    assert (told.lines, told.stored, told.known, told.refused, reasons) == (8, 8, 0, 0, {})
    await exported(second, tmp_path / "second.jsonl.gz")
    assert (tmp_path / "second.jsonl.gz").read_bytes() == (tmp_path / "first.jsonl.gz").read_bytes()
    assert (await execute(second, "SELECT count(*) FROM events_default"))[0][0] == 0


async def test_the_rows_of_the_contract_come_back_too(filled: Filled, bases: Bases, tmp_path: Path) -> None:
    await exported(filled[0], tmp_path / "a.jsonl")
    second = await bases.new()
    await imported(second, tmp_path / "a.jsonl", tmp_path)
    for table in ("sessions", "step_results", "step_attempts", "guidance_notes", "trajectory_events", "plans"):
        rows = f"SELECT to_jsonb(t) - '{{id,session_id,lease_owner,created_at,drift}}'::text[] AS row FROM {table} t"
        assert {row["row"] for row in await execute(filled[0], rows)} == {
            row["row"] for row in await execute(second, rows)
        }, table


async def test_a_file_and_a_database_give_the_same_records(filled: Filled, tmp_path: Path) -> None:
    await exported(filled[0], tmp_path / "a.jsonl.gz")
    assert list(read_records(tmp_path / "a.jsonl.gz")) == await records_of(filled[0], events=True)


async def test_imported_sessions_are_pending_whatever_the_file_says(
    filled: Filled, bases: Bases, tmp_path: Path
) -> None:
    first = await bases.new()
    await exported(filled[0], tmp_path / "a.jsonl")
    await imported(first, tmp_path / "a.jsonl", tmp_path)
    await approve(first, *(session.id for session in filled[1].values()))
    told = await exported(first, tmp_path / "approved.jsonl", Selection())
    assert told.sessions == 8
    second = await bases.new()
    await imported(second, tmp_path / "approved.jsonl", tmp_path)
    assert {record.review_status for record in await records_of(second)} == {"pending"}
    assert await records_of(second, Selection()) == []


async def test_what_drift_detection_said_comes_along(bases: Bases, tmp_path: Path) -> None:
    first, second = await bases.new(), await bases.new()
    sessions = [session_of("question", {}, 0.9, 10) for _ in range(9)]
    drifted = (await store_bodies(tmp_path, first, *sessions))[4]
    drift = {"drift_alert": True, "score": -3.25, "reason": "reward 0.10 against 0.90 ± 0.05", "n": 8}
    await execute(
        first, "UPDATE sessions SET metadata = metadata || $1 WHERE uid = $2", json.dumps({"drift": drift}), drifted
    )
    await exported(first, tmp_path / "a.jsonl")
    await imported(second, tmp_path / "a.jsonl", tmp_path)
    await exported(second, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    (record,) = [record for record in await records_of(second) if record.session_id == drifted]
    assert (record.drift, record.drift_alert) == (drift, True)
    assert list(read_records(tmp_path / "b.jsonl")) == await records_of(second, events=True)


async def test_importing_twice_is_importing_once(lines: list[str], bases: Bases, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, *lines]))
    url = await bases.new()
    told, _ = await imported(url, tmp_path / "a.jsonl", tmp_path)
    assert (told.lines, told.stored, told.known, told.refused) == (16, 16, 8, 0)
    told, _ = await imported(url, tmp_path / "a.jsonl", tmp_path)
    assert (told.stored, told.known) == (16, 16)
    assert len(await records_of(url)) == 8


async def test_another_record_of_a_session_that_is_there_changes_nothing(
    lines: list[str], bases: Bases, tmp_path: Path
) -> None:
    url = await bases.new()
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    await imported(url, tmp_path / "a.jsonl", tmp_path)
    tree = json.loads(lines[0])
    tree["trajectory_events"][-1]["created_at"] = "2020-01-01T00:00:00+00:00"
    tree["trajectory_events"].append(tree["trajectory_events"][-1] | {"id": len(tree["trajectory_events"]) + 1})
    (tmp_path / "b.jsonl").write_text(json.dumps(tree))
    told, reasons = await imported(url, tmp_path / "b.jsonl", tmp_path)
    assert (told.stored, told.refused) == (0, 1)
    assert "another record of session" in reasons[1]
    assert list(read_records(tmp_path / "a.jsonl")) == await records_of(url, events=True)


def changed(tree: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split("/")
    found: Any = tree
    for key in above:
        found = found[int(key)] if isinstance(found, list) else found[key]
    found[int(last) if isinstance(found, list) else last] = value


MALFORMED: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda t: t.pop("record_version"), "no record of Atlas"),
    (lambda t: changed(t, "record_version", 2), "record_version 2 is not known"),
    (lambda t: t.pop("task"), "task: Field required"),
    (lambda t: changed(t, "surplus", 1), "surplus"),
    (lambda t: changed(t, "status", "done"), "status"),
    (lambda t: changed(t, "session_id", "42"), "badly formed"),
    (lambda t: changed(t, "task", "Another task."), "its task is not what its events say"),
    (lambda t: changed(t, "final_answer", "Another answer."), "its final_answer is not"),
    (lambda t: changed(t, "tenant", "somebody else"), "its tenant is not"),
    (lambda t: changed(t, "trajectory_events", None), "all events"),
    (lambda t: changed(t, "trajectory_events", []), "all events"),
    (lambda t: changed(t, "events_left_out", 3), "all events"),
    (lambda t: t["trajectory_events"].pop(0), "all events"),
    (lambda t: t["trajectory_events"].reverse(), "all events"),
    (lambda t: changed(t, "trajectory_events/1/type", "routed"), "event 2 is not of the type"),
    (lambda t: changed(t, "trajectory_events/1/event", {"type": "memory_recalled"}), "student"),
    (lambda t: changed(t, "trajectory_events/0/created_at", "yesterday"), "trajectory_events.0.created_at"),
    (lambda t: changed(t, "trajectory_events/0/event/policy", ESC + "r99:x;"), "where no text is"),
    (lambda t: changed(t, "trajectory_events/0/event/policy", ESC + "r1:task;"), "where no text is"),
    (lambda t: changed(t, "trajectory_events/0/event/policy", ESC + "r1:policy;"), "in a circle"),
    (lambda t: changed(t, "trajectory_events/0/event/metadata", {"a": float("nan")}), "Out of range"),
]


@pytest.mark.parametrize(("damage", "reason"), MALFORMED)
def test_a_line_that_is_no_record_says_why(
    lines: list[str], damage: Callable[[dict[str, Any]], None], reason: str
) -> None:
    tree = json.loads(lines[1])
    damage(tree)
    with pytest.raises(Refused, match=reason):
        parsed(json.dumps(tree).encode())


@pytest.mark.parametrize("line", [b"", b"[]", b"7", b"{", b"\xff\xfe", b"[" * 100_000, b'{"record_version": 1}'])
def test_no_bytes_are_taken_for_a_record(line: bytes) -> None:
    with pytest.raises(Refused):
        parsed(line)


def test_references_that_multiply_are_refused_before_they_grow(lines: list[str]) -> None:
    tree = json.loads(lines[1])
    metadata = {"a0": "x" * 1000} | {f"a{n}": f"{ESC}r1:metadata/a{n - 1};" * 10 for n in range(1, 12)}
    tree["trajectory_events"][0]["event"]["metadata"] = metadata
    with pytest.raises(Refused, match="characters"):
        parsed(json.dumps(tree).encode())


async def test_bad_lines_do_not_stop_the_good_ones(lines: list[str], bases: Bases, tmp_path: Path) -> None:
    tree = json.loads(lines[2])
    tree["trajectory_events"][0]["event"]["policy"] = "NUL \x00 as no database takes it"
    text = "\n".join([lines[0], "nonsense", "", lines[1], json.dumps(tree), lines[3]])
    (tmp_path / "a.jsonl").write_text(text)
    url = await bases.new()
    told, reasons = await imported(url, tmp_path / "a.jsonl", tmp_path)
    assert (told.lines, told.stored, told.refused) == (5, 3, 2)
    assert sorted(reasons) == [2, 5]
    assert len(await records_of(url)) == 3
    with pytest.raises(ValueError, match="Line 2 of"):
        list(read_records(tmp_path / "a.jsonl"))


async def test_a_damaged_file_gives_what_is_whole(lines: list[str], bases: Bases, tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{line}\n" for line in lines).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    told, reasons = await imported(await bases.new(), tmp_path / "a.jsonl.gz", tmp_path)
    assert told.stored >= 1
    assert told.lines == told.stored + told.refused
    assert "damaged from here on" in reasons[max(reasons)]
    with pytest.raises(ConfigError, match="cannot be read"):
        await imported(await bases.new(), tmp_path / "missing.jsonl", tmp_path)


async def test_standard_input_is_a_file_too(
    lines: list[str], bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    told, _ = await imported(await bases.new(), Path("-"), tmp_path)
    assert told.stored == len(lines)


async def test_secrets_do_not_come_in(bases: Bases, tmp_path: Path) -> None:
    """A file that was written without the boundary is cleaned at ours."""
    first = await bases.new()
    bodies: list[Body] = [
        SessionStarted(task=Task(prompt=f"Use PLANTED for {'long ' * 30}"), metadata={"note": "PLANTED"}),
        Answered(answer=f"I used PLANTED. {'long ' * 30}"),
        Finished(status="succeeded"),
    ]
    await store_bodies(tmp_path, first, bodies)
    await exported(first, tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text().replace("PLANTED", PLANTED)
    (tmp_path / "a.jsonl").write_text(text)
    second = await bases.new()
    async with open_importer(second, folder=tmp_path, safety=safety_of()) as importer:
        told = await importer.take(str(tmp_path / "a.jsonl"), lambda number, reason: None)
    assert told.stored == 1
    await exported(second, tmp_path / "b.jsonl")
    assert PLANTED not in (tmp_path / "b.jsonl").read_text()
    assert "I used [redacted" in (tmp_path / "b.jsonl").read_text()


odd = st.text(st.sampled_from(["\x00", "\ud800", "\udfff", ESC, "e", "0", "r", "1", ":", ";", "\\", '"', "\u2028"]))
texts = st.one_of(st.text(st.characters(exclude_categories=()), max_size=60), odd)
numbers = st.one_of(st.integers(), st.integers(-(10**320), 10**320), st.floats(), st.booleans(), st.none())
values = st.one_of(texts, numbers, st.lists(st.one_of(texts, numbers), max_size=3))
payloads = st.dictionaries(texts, values, max_size=4)


def session_of(text: str, payload: dict[str, Any], score: float, tokens: int) -> list[Body]:
    """A session that says a text everywhere, short and long."""
    long = f"{text} and enough besides to be worth a reference in every later event: {text * 3}" + "." * 40
    call = ToolCall(id=text, name="t", arguments=long)
    verdict = Verdict(judge=text, score=score, rationale=long, student_note=text or None)
    return [
        SessionStarted(task=Task(prompt=text, payload=payload, learning_key=text, tenant=text), metadata=payload),
        ModelCalled(
            actor="student",
            purpose="answer",
            model=text,
            request_hash=text,
            request=Request(messages=(Message(role="user", content=long),)),
            completion=Completion(
                message=Message(role="assistant", content=long),
                usage=Usage(calls=1, prompt_tokens=tokens, cost_usd=score),
            ),
            latency_s=score,
        ),
        Attempted(attempt=Attempt(output=long, guidance=text, tools=(ToolUse(call=call, output=long),))),
        Reviewed(review=Review(target="answer", accepted=False, guidance=long)),
        Answered(answer=long),
        Finished(status="succeeded"),
        Rewarded(reward=Reward(value=score, source="judges", verdicts=(verdict,), reason=text)),
    ]


sessions = st.builds(session_of, texts, payloads, st.floats(0, 1), st.integers(0, 10**12))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(told=st.lists(sessions, min_size=1, max_size=6))
async def test_any_string_and_number_goes_out_and_comes_back(
    bases: Bases, tmp_path: Path, told: list[list[Body]]
) -> None:
    first, second = await bases.new(), await bases.new()
    uids = await store_bodies(tmp_path / "s", first, *told)
    await exported(first, tmp_path / "a.jsonl")
    counted, reasons = await imported(second, tmp_path / "a.jsonl", tmp_path / "i")
    assert (counted.stored, reasons) == (len(told), {})
    await exported(second, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    payloads = "SELECT session, seq, at, payload FROM events ORDER BY session, seq"
    assert await execute(first, payloads) == await execute(second, payloads)
    records = await records_of(second, events=True)
    assert [json_of(record) for record in read_records(tmp_path / "b.jsonl")] == list(map(json_of, records))
    for uid, bodies in zip(uids, told, strict=True):
        (record,) = [record for record in records if record.session_id == uid]
        started, rewarded = bodies[0], bodies[-1]
        assert isinstance(started, SessionStarted)
        assert isinstance(rewarded, Rewarded)
        assert (record.task, record.learning_key) == (started.task.prompt, started.task.learning_key)
        assert record.reward == rewarded.reward.value
        assert canonical((record.trajectory_events or ())[0].event) == canonical(started.model_dump())


def canonical(body: dict[str, Any]) -> str:
    """Equal for equal bodies: NaN, minus zero, any string; not the order of keys, which no store promises."""
    return json.dumps(body, sort_keys=True)
