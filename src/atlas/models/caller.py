"""The one door through which a session calls models and tools: journal first, then the world, then the record."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable

from pydantic_core import PydanticSerializationError

from atlas.models.base import Model, OnText
from atlas.models.text import scrub, scrubbed_message
from atlas.schema import (
    Attempt,
    Completion,
    Effect,
    Event,
    Noun,
    Purpose,
    Request,
    ToolCall,
    ToolSpec,
    ToolUse,
    Trace,
    content_hash,
)
from atlas.schema.errors import BudgetError, ModelBadReply, ModelError, ModelTimeout, ToolError
from atlas.schema.events import Actor, Attempted, Failure, ModelCalled, ModelFailed, ToolCalled, ToolStarted

RunTool = Callable[[ToolCall], Awaitable[str]]


class Place(Noun):
    """Where in the session a call belongs."""

    actor: Actor
    """On whose behalf."""
    purpose: Purpose
    """What for."""
    step: int = 0
    """Which step; 0 for the whole task."""
    attempt: int = 1
    """Which attempt."""


class Journal:
    """Finished calls of an earlier run of the same session; each is given out once."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._calls: dict[str, deque[Completion]] = defaultdict(deque)
        self._tools: dict[str, deque[ToolUse]] = defaultdict(deque)
        self._unfinished: Counter[str] = Counter()
        self._attempts: dict[tuple[int, int], Attempt] = {}
        for event in events:
            match event.body:
                case ModelCalled(request_hash=key, completion=completion):
                    self._calls[key].append(completion)
                case ToolStarted(step=step, attempt=attempt, call=call):
                    self._unfinished[_tool_key(step, attempt, call)] += 1
                case ToolCalled(step=step, attempt=attempt, use=use, effect=effect):
                    key = _tool_key(step, attempt, use.call)
                    self._tools[key].append(use)
                    self._unfinished[key] -= effect == "external"
                case Attempted(attempt=attempt):
                    self._attempts[attempt.step, attempt.number] = attempt
                case _:
                    pass

    def __len__(self) -> int:
        return sum(map(len, self._calls.values())) + sum(map(len, self._tools.values()))

    def completion(self, request_hash: str) -> Completion | None:
        """The recorded answer to this request, if one is left."""
        waiting = self._calls.get(request_hash)
        return waiting.popleft() if waiting else None

    def tool_use(self, place: Place, call: ToolCall) -> ToolUse | None:
        """The recorded result of this tool call, if one is left."""
        waiting = self._tools.get(_tool_key(place.step, place.attempt, call))
        return waiting.popleft() if waiting else None

    def attempt(self, place: Place) -> Attempt | None:
        """The recorded attempt at this place, if it is left."""
        return self._attempts.pop((place.step, place.attempt), None) if place.purpose in ("answer", "step") else None

    def was_cut_off(self, place: Place, call: ToolCall) -> bool:
        """Whether the earlier run started this call and nobody knows how it ended; told once."""
        key = _tool_key(place.step, place.attempt, call)
        if self._unfinished[key] <= 0:
            return False
        self._unfinished[key] -= 1
        return True


def request_hash(model: str, request: Request) -> str:
    """The journal's key of a request to a model."""
    return content_hash(model, request.model_dump_json())


def _hashed(model: str, request: Request) -> tuple[Request, str]:
    """The request and its hash; a text that UTF-8 cannot carry is made fit for record and provider first."""
    try:
        return request, request_hash(model, request)
    except PydanticSerializationError:
        clean = tuple(scrubbed_message(message) for message in request.messages)
        request = request.model_copy(update={"messages": clean})
        return request, request_hash(model, request)


def _scrubbed(completion: Completion) -> Completion:
    message = scrubbed_message(completion.message)
    return completion if message is completion.message else completion.model_copy(update={"message": message})


def _usable(model: str, request: Request, completion: Completion) -> Completion:
    """The completion, unless nobody can use it."""
    text = completion.message.content
    if completion.message.tool_calls:
        return completion
    if completion.finish_reason == "length" and (request.json_schema is not None or not text.strip()):
        raise ModelBadReply(
            f"{model} reached its limit of tokens before the answer was complete.",
            "Raise max_output_tokens.",
            text=text,
        )
    if not text.strip():
        filtered = completion.finish_reason == "content_filter"
        raise ModelBadReply(
            f"{model} gave an empty answer" + (", stopped by a content filter." if filtered else "."),
            "Check the task and the prompt with the provider's filter in mind."
            if filtered
            else "Try again, or another model.",
        )
    return completion


def _tool_key(step: int, attempt: int, call: ToolCall) -> str:
    return content_hash(str(step), str(attempt), call.name, call.arguments)


class Caller:
    """Calls models and tools for one session, within its deadline and token budget."""

    def __init__(
        self,
        trace: Trace,
        *,
        journal: Journal | None = None,
        deadline: float | None = None,
        max_tokens: int | None = None,
        call_timeout_s: float = 300.0,
    ) -> None:
        """`deadline` is a time of `time.monotonic()`; `max_tokens` bounds all calls together."""
        self.trace = trace
        self._journal = Journal() if journal is None else journal  # an empty one is false, and not to be replaced
        self._deadline = deadline
        self._tokens_left = max_tokens
        self._call_timeout_s = call_timeout_s

    def remaining_s(self, wanted_s: float | None = None) -> float:
        """Seconds a call may take: what is wanted, cut by the session's deadline.

        Raises:
            ModelTimeout: the session's deadline has passed.
        """
        wanted = self._call_timeout_s if wanted_s is None else wanted_s
        if self._deadline is None:
            return wanted
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ModelTimeout("The session's time is spent.", "Raise orchestration.session_timeout_seconds.")
        return min(wanted, left)

    @property
    def tokens_left(self) -> int | None:
        """Tokens that the session may still spend; None is unbounded."""
        return None if self._tokens_left is None else max(0, self._tokens_left)

    async def complete(
        self,
        model: Model,
        request: Request,
        place: Place,
        *,
        timeout_s: float | None = None,
        on_text: OnText | None = None,
    ) -> Completion:
        """The model's answer, from the journal if this session has paid for it already.

        An answer that nobody can use is recorded as well, since it has been paid for, and then raised.

        Raises:
            ModelBadReply: it is empty, or cut off in the middle of the JSON that was asked for.
            ModelError: the provider failed for good; recorded once as `model_failed`.
            BudgetError: the session's token budget is spent.
        """
        request, key = _hashed(model.name, request)
        finished = self._journal.completion(key)
        if finished is not None:
            self._spend(finished)
            if on_text and finished.message.content:
                await on_text(finished.message.content)
            return _usable(model.name, request, finished)
        if self._tokens_left is not None and self._tokens_left <= 0:
            raise BudgetError("The session's token budget is spent.", "Raise orchestration.max_session_tokens.")
        started = time.perf_counter()
        try:
            completion = await model.complete(request, timeout_s=self.remaining_s(timeout_s), on_text=on_text)
        except ModelError as error:
            await self.trace.record(
                ModelFailed(
                    **place.model_dump(),
                    model=model.name,
                    request_hash=key,
                    failure=Failure.of(error),
                    latency_s=time.perf_counter() - started,
                )
            )
            raise
        completion = _scrubbed(completion)
        self._spend(completion)
        await self.trace.record(
            ModelCalled(
                actor=place.actor,
                purpose=place.purpose,
                step=place.step,
                attempt=place.attempt,
                model=model.name,
                request_hash=key,
                request=request,
                completion=completion,
                latency_s=time.perf_counter() - started,
            )
        )
        return _usable(model.name, request, completion)

    async def observed(
        self, model: str, request: Request, completion: Completion, place: Place, *, latency_s: float
    ) -> None:
        """Record a call that the user's agent made by itself; it counts against the session's tokens.

        Raises:
            BudgetError: it spent the last of them.
        """
        request, key = _hashed(model, request)
        completion = _scrubbed(completion)
        self._spend(completion)
        await self.trace.record(
            ModelCalled(
                **place.model_dump(),
                model=model,
                request_hash=key,
                request=request,
                completion=completion,
                latency_s=latency_s,
            )
        )
        if self._tokens_left is not None and self._tokens_left < 0:
            raise BudgetError("The session's token budget is spent.", "Raise orchestration.max_session_tokens.")

    async def observed_tool(self, use: ToolUse, effect: Effect, place: Place, *, latency_s: float) -> None:
        """Record a tool call that the user's agent made by itself."""
        clean = use.model_copy(update={"output": scrub(use.output), "error": scrub(use.error) if use.error else None})
        await self.trace.record(
            ToolCalled(step=place.step, attempt=place.attempt, use=clean, effect=effect, latency_s=latency_s)
        )

    def recorded_attempt(self, place: Place) -> Attempt | None:
        """What the student did here before the session was interrupted; for agents whose calls Atlas cannot see."""
        return self._journal.attempt(place)

    def _spend(self, completion: Completion) -> None:
        if self._tokens_left is not None:
            self._tokens_left -= completion.usage.tokens

    async def tool(
        self, run: RunTool, call: ToolCall, spec: ToolSpec | None, place: Place, *, timeout_s: float | None = None
    ) -> ToolUse:
        """Run one tool call and record it. A failing tool is an answer to the model, not the session's end.

        A tool with an effect in the world is recorded before it runs as well. If an earlier run of the session was cut
        off in between, the tool is not run again: the model is told that its effect is unknown.

        Raises:
            ModelTimeout: the session's time is spent.
        """
        finished = self._journal.tool_use(place, call)
        if finished is not None:
            return finished
        started = time.perf_counter()
        effect = spec.effect if spec else "none"
        if effect == "external" and self._journal.was_cut_off(place, call):
            use = ToolUse(call=call, error=f"{call.name} was interrupted; whether it took effect is unknown")
        else:
            timeout_s = self.remaining_s(timeout_s)
            if effect == "external":
                await self.trace.record(ToolStarted(step=place.step, attempt=place.attempt, call=call))
            use = await _run(run, call, timeout_s)
        await self.trace.record(
            ToolCalled(
                step=place.step, attempt=place.attempt, use=use, effect=effect, latency_s=time.perf_counter() - started
            )
        )
        return use


async def _run(run: RunTool, call: ToolCall, timeout_s: float) -> ToolUse:
    try:
        async with asyncio.timeout(timeout_s):
            return ToolUse(call=call, output=scrub(await run(call)))
    except TimeoutError:
        return ToolUse(call=call, error=f"{call.name} did not finish in time")
    except ToolError as error:
        return ToolUse(call=call, error=scrub(error.message))
