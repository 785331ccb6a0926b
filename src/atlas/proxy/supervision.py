"""The paired lane on a proxied answer: the teacher verifies it before it goes out, and guides a retry of the call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from atlas.agents import Abilities, Output, Turn
from atlas.lanes.verified import until_accepted
from atlas.models import Caller, OnText
from atlas.proxy.calls import Call, Reply
from atlas.proxy.conversation import Conversation
from atlas.roles import Scene, Student, StudentLimits, StudentPrompts, Teacher
from atlas.schema import Attempt
from atlas.schema.errors import AgentError

Ask = Callable[[Call], Awaitable[Reply]]
"""Sends a call to its upstream and gives the whole reply, within the budget."""


class Supervision:
    """Reviews answers. Without a teacher there is none: every session then plays auto."""

    def __init__(self, teacher: Teacher, *, retries: int, limits: StudentLimits) -> None:
        """`retries` are the tries after the first one."""
        self._teacher = teacher
        self._retries = retries
        self._limits = limits

    async def verified(self, conversation: Conversation, call: Call, reply: Reply, ask: Ask) -> Reply:
        """The reply that the client gets: the first, or the one of a retry that followed the teacher's guidance.

        Every attempt and review is on record. A teacher or a retry that fails leaves the answer before it.

        Raises:
            StoreError: the record could not be written.
        """
        first = conversation.tried
        agent = _Caller(conversation, call, ask, known=len(conversation.heard), first=(first.attempt, reply))
        student = Student(agent, StudentPrompts.default(), self._limits)
        scene: Scene = conversation.guest.scene
        last = first.attempt.number - 1 + self._retries
        verified = await until_accepted(scene, student, self._teacher, first, retries=last)
        attempt, chosen = next(pair for pair in reversed(agent.replies) if pair[0].output == verified.output)
        conversation.stands(attempt, verified.accepted)
        return chosen


class _Caller:
    """The student behind the proxy, as far as it can be asked again: the same call, with more said."""

    name = "proxied"
    plans = False
    abilities = Abilities(traces=True)

    def __init__(
        self, conversation: Conversation, call: Call, ask: Ask, *, known: int, first: tuple[Attempt, Reply]
    ) -> None:
        self.replies = [first]
        self._conversation = conversation
        self._call = call
        self._ask = ask
        self._known = known

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """Send the call once more.

        Raises:
            AgentError: the upstream gave no answer, or one that only the agent itself can go on with.
        """
        again = self._call.with_more(turn.messages[self._known :])
        reply = await self._ask(again)
        if not 200 <= reply.status < 300:
            raise AgentError(f"The upstream answered the retry with {reply.status}.")
        completion = again.completion(reply)
        await caller.trace.record(again.called(turn.place, completion))
        if completion.message.tool_calls:
            raise AgentError("The retry asks for tools, which only the agent itself can run.")
        text = completion.message.content
        self.replies.append((Attempt(number=turn.place.attempt, output=text, guidance=_guidance(turn)), reply))
        return Output(text=text, messages=(*turn.messages, completion.message))

    async def close(self) -> None:
        """It holds nothing."""


def _guidance(turn: Turn) -> str:
    return turn.messages[-1].content
