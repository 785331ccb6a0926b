"""An agent that works elsewhere and asks for its turns: the other side of the MCP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from atlas.agents.answers import Unusable, as_text, output_of, recorded
from atlas.agents.base import Abilities, Output, Turn
from atlas.agents.prompting import guidance_of, playbook_of
from atlas.models import Caller, OnText
from atlas.schema import Noun, Session, ToolCall, ToolUse
from atlas.schema.errors import AgentError, ConfigError, JudgeError

REPORT = "report_outcome"
"""The tool's name under which an outcome is recorded."""


class Asked(Noun):
    """What the far agent is asked to do."""

    session_id: str
    """The session it belongs to."""
    attempt: int
    """1 for the first try, 2 for the first retry, ..."""
    playbook: str
    """Lessons for this task, one a line; empty when there are none."""
    guidance: str
    """The reviewer's words on the last try; empty at the first."""


class Handed(Noun):
    """What the far agent hands in."""

    answer: str
    """Its answer."""
    score: float | None = None
    """How well it went, in [0, 1], where the agent has found out."""


class RemoteAgent:
    """Its turns wait until somebody hands in an answer for their session."""

    def __init__(self, name: str, on_asked: Callable[[Asked], None]) -> None:
        """`on_asked` is told of every turn as it begins."""
        self._name = name
        self._on_asked = on_asked
        self._waiting: dict[str, asyncio.Future[Handed]] = {}

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    @property
    def plans(self) -> bool:
        """It answers; it is not asked for a plan."""
        return False

    @property
    def abilities(self) -> Abilities:
        """It is told playbook and guidance; what it does is not seen."""
        return Abilities()

    def hand_in(self, session_id: str, handed: Handed) -> None:
        """End the turn of a session with this answer.

        Raises:
            ConfigError: no turn of that session waits.
        """
        waiting = self._waiting.get(session_id)
        if waiting is None or waiting.done():
            raise ConfigError(f"No task with the id {session_id!a} waits for an answer.", "Begin one first.")
        waiting.set_result(handed)

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """What is handed in.

        Raises:
            AgentError: nothing was handed in in time, or an empty answer.
            ModelTimeout: the session's time is spent.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        session_id = caller.trace.session_id
        waiting = self._waiting[session_id] = asyncio.get_running_loop().create_future()
        asked = Asked(
            session_id=session_id,
            attempt=turn.place.attempt,
            playbook=playbook_of(turn),
            guidance=guidance_of(turn) or "",
        )
        timeout_s = caller.remaining_s(turn.timeout_s)
        try:
            self._on_asked(asked)
            async with asyncio.timeout(timeout_s):
                handed = await waiting
            return output_of(turn, as_text(handed.answer), _reported(handed))
        except TimeoutError:
            raise AgentError(f"{self._name} handed nothing in within {timeout_s:g} s.") from None
        except Unusable as error:
            raise AgentError(f"{self._name} {error}.", "Hand in an answer.") from None
        finally:
            self._waiting.pop(session_id, None)

    async def close(self) -> None:
        """Nothing to give back."""


def _reported(handed: Handed) -> tuple[ToolUse, ...]:
    if handed.score is None:
        return ()
    score = json.dumps({"score": handed.score})
    return (ToolUse(call=ToolCall(id="report", name=REPORT, arguments="{}"), output=score),)


def reported_outcome(session: Session) -> float:
    """A check: the score that the far agent reported with its last answer.

    Raises:
        JudgeError: it reported none.
    """
    uses = session.attempts[-1].tools if session.attempts else ()
    found = next((use for use in reversed(uses) if use.call.name == REPORT), None)
    if found is None:
        raise JudgeError("No outcome was reported.", "Hand in a score with the answer.")
    return float(json.loads(found.output)["score"])
