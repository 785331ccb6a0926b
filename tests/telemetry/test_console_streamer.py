"""What a person sees of sessions while they run."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.runtime.telemetry import ConsoleTelemetryStreamer, EventBus, safe
from atlas.runtime.telemetry.board import Board
from atlas.runtime.telemetry.console import board_table
from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Dossier,
    Event,
    Failure,
    Message,
    Plan,
    Recalled,
    Request,
    Review,
    Reward,
    Route,
    Step,
    Task,
    ToolCall,
    ToolUse,
    Usage,
    Verdict,
)
from atlas.schema import events as ev

SESSION = "0190b7a0-0000-7000-8000-0000deadbeef"
FAILURE = Failure(boundary="model", kind="ModelTimeout", message="No answer came in 3 s.")


def model_called(actor: ev.Actor = "student", tokens: int = 120) -> ev.ModelCalled:
    return ev.ModelCalled(
        actor=actor,
        purpose="answer" if actor == "student" else "verify",
        model="openai:m",
        request_hash="h",
        request=Request(messages=(Message(role="user", content="q"),)),
        completion=Completion(
            message=Message(role="assistant", content="a"),
            usage=Usage(calls=1, prompt_tokens=tokens, completion_tokens=0, cost_usd=0.0012),
        ),
        latency_s=0.25,
    )


BODIES: list[Body] = [
    ev.SessionStarted(task=Task(prompt="Refund order 7\x1b[2J\nnow")),
    ev.SessionResumed(finished_calls=2),
    ev.MemoryRecalled(student=Recalled(audience="student", version=1), teacher=Recalled(audience="teacher", version=0)),
    ev.Triaged(dossier=Dossier(risks=("money moves",))),
    ev.Routed(route=Route(lane="paired", confidence=0.7, source="history", reason="seen before")),
    ev.Planned(plan=Plan(steps=(Step(id=1, description="find"), Step(id=2, description="pay")))),
    model_called(),
    ev.ModelFailed(actor="teacher", purpose="verify", model="m", failure=FAILURE, latency_s=3.0),
    ev.ToolStarted(call=ToolCall(id="1", name="find", arguments="{}")),
    ev.ToolCalled(
        use=ToolUse(call=ToolCall(id="1", name="find", arguments="{}"), output="7"), effect="none", latency_s=0
    ),
    ev.Attempted(attempt=Attempt(output="done")),
    ev.Reviewed(review=Review(target="answer", accepted=False, guidance="check the sum")),
    ev.Degraded(what="no teacher", failure=FAILURE),
    ev.Answered(answer="refunded", accepted=True),
    ev.Finished(status="succeeded"),
    ev.Judged(verdict=Verdict(judge="check:sum", score=1.0)),
    ev.JudgeFailed(judge="rim", failure=FAILURE),
    ev.Rewarded(reward=Reward(value=0.9, source="check")),
    ev.Compared(audience="student", entry_id="e1", shown=True, outcome=0.0),
    ev.Learnt(audience="student", version=2, added=("e1",)),
    ev.LearningFailed(failure=FAILURE),
]


def session_events(session_id: str = SESSION) -> list[Event]:
    at = datetime.now(UTC)
    return [Event(session_id=session_id, seq=seq, at=at, body=body) for seq, body in enumerate(BODIES, start=1)]


def shown(mode: str, events: list[Event]) -> str:
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    bus, streamer = EventBus(), ConsoleTelemetryStreamer(output, mode=mode)  # pyright: ignore[reportArgumentType]
    streamer.attach(bus)
    for event in events:
        bus.publish(event)
    bus.close()
    output.flush()
    return output.buffer.getvalue().decode()  # pyright: ignore[reportAttributeAccessIssue]


def test_every_kind_of_event_is_one_plain_line() -> None:
    assert {body.type for body in BODIES} == {
        kind.model_fields["type"].default for kind in ev.Body.__args__[0].__args__
    }  # pyright: ignore
    lines = shown("auto", session_events()).splitlines()
    assert len(lines) == len(BODIES)
    text = "\n".join(lines)
    assert all("deadbeef" in line for line in lines)
    for words in (
        "started Refund order 7\\x1b[2J now",
        "routed paired 0.70 by history: seen before",
        "student answer try 1: 120 tok $0.0012 0.25 s",
        "teacher verify try 1 failed: No answer came in 3 s.",
        "tool find({}) starts",
        "tool find({}) -> 7",
        "reviewed try 1 not accepted: check the sum",
        "answered (accepted): refunded",
        "finished succeeded",
        "reward 0.90 by check",
        "learnt: student's playbook version 2, 1 new, 0 changed",
    ):
        assert words in text
    assert "\x1b" not in text


def test_json_lines_hold_whole_events() -> None:
    events = session_events()
    lines = shown("json", events).splitlines()
    assert [Event.model_validate(json.loads(line)) for line in lines] == events


def test_the_live_table_leaves_one_line_for_each_finished_session_and_the_cursor_shown() -> None:
    text = shown("live", session_events())
    assert f"succeeded {SESSION} paired accepted 120 tok $0.0012" in text
    assert "reward 0.90 by check" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")


def test_a_table_of_many_sessions_fits_the_terminal() -> None:
    from rich.console import Console

    board = Board()
    for number in range(200):
        session_id = f"0190b7a0-0000-7000-8000-{number:012x}"
        for event in session_events(session_id)[:7]:
            board.apply(event)
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(board_table(board, rows=20))
    lines = captured.get().splitlines()
    assert len(lines) == 22
    assert all(len(line) <= 100 for line in lines)
    assert lines[0].startswith("200 running, 180 not shown · 0 done · 0 failed · 24,000 tok $0.2400")


def test_judges_after_the_answer_are_counted_and_make_no_new_row() -> None:
    board = Board()
    events = session_events()
    for event in events[:15]:
        state = board.apply(event)
    assert state is not None
    board.take_off(state)
    late = Event(session_id=SESSION, seq=20, at=datetime.now(UTC), body=model_called("judge"))
    assert board.apply(late) is None
    assert board.usage.tokens == 240
    assert (board.done, board.failed, len(board.sessions)) == (1, 0, 0)


def test_json_of_half_a_surrogate_pair() -> None:
    event = Event(session_id=SESSION, seq=1, at=datetime.now(UTC), body=ev.Answered(answer="a\udcff"))
    assert json.loads(shown("json", [event]))["body"]["answer"] == "a\udcff"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_takes_any_text(encoding: str) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    streamer = ConsoleTelemetryStreamer(output, mode="lines")
    body = ev.SessionStarted(task=Task(prompt="Grüße 木 \u202e \ud800 ok"))
    streamer(Event(session_id=SESSION, seq=1, at=datetime.now(UTC), body=body))
    assert b"ok" in output.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@given(st.text())
def test_shown_text_has_no_control_characters(text: str) -> None:
    clean = safe(text)
    assert len(clean) <= 160
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in clean)
