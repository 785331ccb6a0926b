"""One session of an agent behind the proxy: what its calls say, as events."""

from __future__ import annotations

import time

from atlas.models import Place
from atlas.roles import Try
from atlas.runtime import Guest
from atlas.schema import Attempt, Failure, Message, ToolCall, ToolUse
from atlas.schema.events import Attempted, ModelCalled, ModelFailed, ToolCalled

LEFT = "Cancelled"
"""Kind of the failure of a call whose client did not wait for its end."""


class Conversation:
    """A session that may have further calls. Its student is whoever calls; what it does between calls is not seen."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.heard: tuple[Message, ...] = ()
        """The conversation of the last call, as the client sent it."""
        self.said: Message | None = None
        """The last reply; None where the last call had none."""
        self.under_way = 0
        """Calls that have not ended."""
        self._attempt = 1
        self._guidance: str | None = None
        self._uses: list[ToolUse] = []
        self._waiting: dict[str, ToolCall] = {}
        self._replied_at = time.perf_counter()
        self._failure: Failure | None = None
        self._tried: Attempt | None = None
        self._is_told = False
        self._accepted: bool | None = None

    @property
    def works(self) -> bool:
        """Whether the agent has tools to run before it can call again."""
        return bool(self._waiting)

    @property
    def place(self) -> Place:
        """Where its next call belongs."""
        return Place(actor="student", purpose="answer", attempt=self._attempt)

    async def listen(self, heard: tuple[Message, ...]) -> None:
        """Note what a new call brings: results of tools, and a person's word after an answer.

        Raises:
            StoreError: it could not be recorded.
        """
        goes_on = bool(self.heard) and heard[: len(self.heard)] == self.heard
        new = heard[len(self.heard) :] if goes_on else heard
        for message in new:
            call = self._waiting.pop(message.tool_call_id or "", None) if message.role == "tool" else None
            if call is not None:
                await self._used(ToolUse(call=call, output=message.content))
        if goes_on:
            self._waiting.clear()
            if self._tried is not None and new and new[-1].role == "user":
                await self._again(new[-1].content)
        self.heard = (*self.heard, *new) if goes_on else heard

    async def replied(self, call: ModelCalled) -> None:
        """Record a call and its reply; one that asks for no tool is an answer.

        Raises:
            StoreError: it could not be recorded.
        """
        await self.guest.trace.record(call)
        self.said = call.completion.message
        self._replied_at = time.perf_counter()
        self._waiting |= {wanted.id: wanted for wanted in self.said.tool_calls}
        self._failure = None
        self._tried = None if self._waiting else self._attempt_of(self.said)
        self._is_told = False

    async def failed(self, call: ModelFailed) -> None:
        """Record a call without a reply.

        Raises:
            StoreError: it could not be recorded.
        """
        await self.guest.trace.record(call)
        self.said, self._failure = None, call.failure

    @property
    def tried(self) -> Try:
        """The last answer as an attempt that a teacher can review."""
        said = self.said or Message(role="assistant")
        return Try(attempt=self._attempt_of(said), said=(*self.heard, said))

    def stands(self, attempt: Attempt, accepted: bool | None) -> None:
        """The attempt that the caller gets, once it is reviewed and on record."""
        self._attempt, self._guidance, self._accepted = attempt.number, attempt.guidance, accepted
        self.said = Message(role="assistant", content=attempt.output)
        self._tried, self._is_told = attempt, True

    async def finish(self) -> bool:
        """Record how it ended; whether there is an answer to judge.

        Raises:
            StoreError: it could not be recorded.
        """
        if self.said is None:
            left = self._failure is None or self._failure.kind == LEFT
            await self.guest.finish("cancelled" if left else "failed", failure=None if left else self._failure)
            return False
        if self._tried is None:  # an agent that ends with a call has answered by it
            self._tried = self._attempt_of(self.said)
        answer = self._tried.output
        await self._tell()
        await self.guest.finish("succeeded", answer=answer, accepted=self._accepted)
        return True

    async def _used(self, use: ToolUse) -> None:
        self._uses.append(use)
        seconds = time.perf_counter() - self._replied_at
        await self.guest.trace.record(ToolCalled(attempt=self._attempt, use=use, effect="external", latency_s=seconds))

    async def _again(self, guidance: str) -> None:
        """A person answers the answer: what follows is the next attempt."""
        await self._tell()
        self._attempt += 1
        self._guidance, self._uses, self._tried, self._accepted = guidance, [], None, None

    async def _tell(self) -> None:
        if self._tried is not None and not self._is_told:
            self._is_told = True
            await self.guest.trace.record(Attempted(attempt=self._tried))

    def _attempt_of(self, said: Message) -> Attempt:
        words = said.content or "\n".join(call.arguments for call in said.tool_calls)
        return Attempt(number=self._attempt, output=words, tools=tuple(self._uses), guidance=self._guidance)
