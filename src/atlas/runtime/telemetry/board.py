"""The state of every session under way, as a display needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from atlas.runtime.telemetry.words import accepted_word, safe
from atlas.schema import Event, Status, Usage
from atlas.schema import events as ev


@dataclass(slots=True)
class SessionState:
    """One session so far."""

    id: str
    """UUID version 7."""
    started: datetime
    """When it was first heard of (UTC)."""
    prompt: str = ""
    """The task, one line."""
    lane: str = ""
    """Empty before routing."""
    step: int = 0
    """The step worked on; 0 for the whole task."""
    steps: int = 0
    """Steps of the plan; 0 without one."""
    attempt: int = 1
    """The try worked on."""
    doing: str = "starting"
    """What happened last."""
    usage: Usage = field(default_factory=Usage)
    """Consumption of all roles."""
    verdict: str = ""
    """The teacher's word, then the reward."""
    status: Status = "running"
    """running or a final state."""

    def apply(self, body: ev.Body) -> None:
        """Take in what happened."""
        match body:
            case ev.SessionStarted(task=task):
                self.prompt = safe(task.prompt)
            case ev.Routed(route=route):
                self.lane, self.doing = route.lane, f"{route.lane} by {route.source}"
            case ev.ModelCalled(actor=actor, purpose=purpose, completion=completion):
                self.usage += completion.usage
                self.doing = f"{actor} {purpose}"
                self._at(body.step, body.attempt)
            case ev.ToolStarted(call=call):
                self.doing = f"tool {safe(call.name, 30)}"
                self._at(body.step, body.attempt)
            case ev.ToolCalled(use=use):
                self.doing = f"tool {safe(use.call.name, 30)} done"
                self._at(body.step, body.attempt)
            case ev.Planned(plan=plan):
                self.steps = len(plan.steps)
            case ev.Reviewed(review=review):
                self.verdict = accepted_word(review.accepted)
            case ev.Degraded(what=what):
                self.doing = f"degraded: {safe(what, 40)}"
            case ev.Answered(accepted=accepted):
                self.verdict = accepted_word(accepted)
            case ev.Finished(status=status):
                self.status, self.doing = status, status
            case ev.Rewarded(reward=reward):
                self.verdict = "no verdict" if reward.value is None else f"reward {reward.value:.2f}"
            case ev.SessionResumed(lane=lane):
                self.status, self.doing, self.lane = "running", "resumed", lane or self.lane
            case _:
                pass

    def _at(self, step: int, attempt: int) -> None:
        self.step, self.attempt = step, attempt


class Board:
    """The sessions under way; finished ones are only counted."""

    def __init__(self) -> None:
        self.sessions: dict[str, SessionState] = {}
        self.done = 0
        self.failed = 0
        self.usage = Usage()

    def apply(self, event: Event) -> SessionState | None:
        """Take in one event; gives the session's state after it, None for one that is not under way."""
        state = self.sessions.get(event.session_id)
        match event.body:
            case ev.SessionStarted() | ev.SessionResumed():
                state = self.sessions.setdefault(event.session_id, SessionState(id=event.session_id, started=event.at))
            case ev.ModelCalled(completion=completion) if state is None:
                self.usage += completion.usage  # judges and curator, after the answer
            case _:
                pass
        if state is not None:
            state.apply(event.body)
        return state

    def take_off(self, state: SessionState) -> None:
        """A session is over: keep its sums only."""
        if self.sessions.pop(state.id, None) is not None:
            self.done += 1
            self.failed += state.status != "succeeded"
            self.usage += state.usage
