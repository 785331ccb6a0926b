"""What a record says about a session that the loop has played."""

from __future__ import annotations

import json

import pytest
from export_kit import ANSWER, EVERY, GUIDANCE, records_of

from atlas.export import SessionRecord, open_reader, record_of
from atlas.export.lines import line_of
from atlas.schema import Session

Filled = tuple[str, dict[str, Session]]
RECORD_FIELDS = """task final_answer plan steps session_metadata session_reward trajectory_events student_learning
teacher_learning learning_history adaptive_summary triage_dossier review_status"""
STEP_FIELDS = """step_id description trace output reward tool tool_params context validation attempts guidance metadata
artifacts deliverable runtime depends_on"""
JUDGE_FIELDS = "identifier score rationale principles samples escalated escalation_reason"


@pytest.fixture
async def records(filled: Filled) -> dict[str, SessionRecord]:
    url, sessions = filled
    by_id = {record.session_id: record for record in await records_of(url, events=True)}
    return {name: by_id[session.id] for name, session in sessions.items()}


def test_every_field_of_the_contract_is_there(records: dict[str, SessionRecord]) -> None:
    for record in records.values():
        told = json.loads(json.dumps(record.to_dict()))
        assert set(told) >= set(RECORD_FIELDS.split())
        for step in told["steps"]:
            assert set(step) >= set(STEP_FIELDS.split())
            assert {"score", "judges", "rationale"} <= set(step["reward"])
            assert all(set(judge) >= set(JUDGE_FIELDS.split()) for judge in step["reward"]["judges"])
        for step in told["plan"]["steps"]:
            assert set(step) == {"id", "description", "tool", "tool_params", "depends_on"}
        assert {"task", "summary", "risks", "signals", "tags"} <= set(told["triage_dossier"])
        assert {"adaptive_mode", "confidence", "certification_run", "probe", "mode_history"} <= set(
            told["adaptive_summary"]
        )


def test_a_record_says_what_the_session_says(records: dict[str, SessionRecord], filled: Filled) -> None:
    for name, session in filled[1].items():
        record = records[name]
        assert (record.session_id, record.task, record.final_answer) == (
            session.id,
            session.task.prompt,
            session.answer or "",
        )
        assert (record.status, record.accepted, record.usage) == (session.status, session.accepted, session.usage)
        assert record.reward == (session.reward.value if session.reward else None)
        assert record.lane == (session.route.lane if session.route else None)
        assert record.created_at == session.created_at
        assert record.review_status == "pending"


def test_a_guided_answer_tells_both_attempts(records: dict[str, SessionRecord]) -> None:
    record = records["paired"]
    (step,) = record.steps
    assert (step.output, step.attempts, step.guidance) == (ANSWER, 2, (GUIDANCE,))
    assert step.validation == {"valid": True, "guidance": None}
    assert [(tried.number, tried.accepted, tried.guidance) for tried in record.attempts] == [
        (1, False, None),
        (2, True, GUIDANCE),
    ]
    assert record.attempts[0].output == "A first draft: the total is 50."
    assert record.attempts[1].output is None
    assert record.teacher_notes == [GUIDANCE]
    events = {event.id: event for event in record.trajectory_events or ()}
    (call,) = record.attempts[1].calls
    messages = events[call].event["request"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert events[call].event["completion"]["message"]["content"] == ANSWER
    assert [(e["attempt"], e["evaluation"]["validation"]["valid"]) for e in step.attempt_history] == [
        (1, False),
        (2, True),
    ]


def test_a_coached_session_tells_its_steps(records: dict[str, SessionRecord]) -> None:
    record = records["coach"]
    assert [(step.id, step.depends_on) for step in record.plan.steps] == [(1, ()), (2, (1,))]
    first, second = record.steps
    assert (first.description, second.description) == ("read the amounts", "add the amounts")
    assert second.context == {"prior_results": {"1": first.output}}
    assert first.reward.score is None
    assert record.reward == 0.9
    assert record.final_answer == ANSWER


def test_tools_are_told_with_what_they_returned(records: dict[str, SessionRecord]) -> None:
    (step,) = records["tool"].steps
    assert step.tool == "add_up"
    assert step.tool_params == {"amounts": [10, 20, 30]}
    assert step.trace == 'add_up({"amounts": [10, 20, 30]}) -> 60'
    assert step.runtime is not None
    assert step.runtime > 0


def test_what_failed_says_why(records: dict[str, SessionRecord]) -> None:
    failed = records["failed"]
    assert failed.failure is not None
    assert failed.failure.boundary == "agent"
    assert (failed.status, failed.steps, failed.session_reward) == ("failed", (), None)
    degraded = records["degraded"]
    assert "could not review" in degraded.degraded[0].what
    assert degraded.accepted is None


def test_no_verdict_is_no_score(records: dict[str, SessionRecord]) -> None:
    record = records["unjudged"]
    assert record.session_reward is not None
    assert record.session_reward["score"] is None
    assert record.steps[0].reward.score is None
    assert record.reward is None


def test_a_part_reads_like_a_dictionary_too(records: dict[str, SessionRecord]) -> None:
    record = records["auto"]
    assert record["session_reward"]["score"] == record.reward
    assert record.get("no such field", 7) == 7
    with pytest.raises(KeyError):
        record["no such field"]


def test_events_are_in_order_and_whole(records: dict[str, SessionRecord], filled: Filled) -> None:
    for name in filled[1]:
        events = records[name].trajectory_events or ()
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert events[0].type == "session_started"
        assert "\ueffe" not in json.dumps([event.event for event in events], ensure_ascii=False)


async def test_one_line_holds_the_answer_three_times_at_most(filled: Filled) -> None:
    async with open_reader(filled[0]) as reader:
        async for stored in reader.sessions(EVERY):
            record = record_of(stored)
            line = line_of(record, stored)
            assert "\n" not in line
            if record.final_answer == ANSWER:
                assert 1 <= line.count(json.dumps(ANSWER)[1:-1]) <= 3


async def test_a_record_without_events_says_the_same(filled: Filled) -> None:
    async with open_reader(filled[0]) as reader:
        light = [record_of(stored) async for stored in reader.sessions(EVERY, events=False)]
    assert light == await records_of(filled[0])
