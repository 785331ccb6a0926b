"""An agent that is a model with tools."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from atlas.agents.answers import output_of
from atlas.agents.base import Abilities, Output, Turn
from atlas.agents.gate import Gate
from atlas.agents.tools import AnyTool
from atlas.models import Caller, Model, OnText, ask_json
from atlas.schema import Completion, Message, Request, ToolCall, ToolUse
from atlas.schema.errors import AgentError, ConfigError, ModelBadReply, ToolError
from atlas.schema.events import Degraded, Failure

T = TypeVar("T")


class ModelAgent:
    """A model that calls the user's tools until it says its final words."""

    def __init__(
        self,
        model: Model,
        *,
        system_prompt: str = "",
        tools: Sequence[AnyTool] = (),
        tool_choice: str = "auto",
        max_tool_rounds: int = 12,
        gate: Gate | None = None,
    ) -> None:
        """`system_prompt` stands before the role text; `max_tool_rounds` bounds the replies that call tools; `gate` is
        asked before each call.

        Raises:
            ConfigError: two tools have the same name.
        """
        self._model = model
        self._system_prompt = system_prompt.strip()
        self._tools = {tool.spec.name: tool for tool in tools}
        if len(self._tools) < len(tools):
            raise ConfigError("Two tools have the same name.", "Name one with @tool(name=...).")
        self._specs = tuple(tool.spec for tool in tools)
        self._tool_choice = tool_choice
        self._max_tool_rounds = max_tool_rounds
        self._gate = gate or Gate()

    @property
    def name(self) -> str:
        """Its model's name."""
        return self._model.name

    @property
    def plans(self) -> bool:
        """A model can be asked for JSON."""
        return True

    @property
    def abilities(self) -> Abilities:
        """All: its calls leave from here."""
        return Abilities(traces=True, steps=True)

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """The model's final words, after as many rounds of tool calls as it wants.

        Raises:
            AgentError: too many rounds, or the turn's time is spent.
            ModelError: the model failed.
        """
        deadline = time.monotonic() + turn.timeout_s
        if turn.json_schema is not None:
            return await self._act_json(turn, caller)
        said = list(turn.messages)
        uses: list[ToolUse] = []
        for rounds in range(self._max_tool_rounds + 1):
            request = self._request(turn, said, first=rounds == 0)
            left_s = self._left_s(deadline, turn)
            completion = await caller.complete(self._model, request, turn.place, timeout_s=left_s, on_text=on_text)
            said.append(completion.message)
            calls = completion.message.tool_calls
            if not calls:
                await _tell_cut(self.name, completion, caller)
                return Output(text=completion.message.content, tools=tuple(uses), messages=tuple(said))
            if rounds < self._max_tool_rounds:
                new = await _together(self._use(call, turn, caller, deadline) for call in calls)
                uses += new
                said += map(_result, new)
        raise AgentError(
            f"{self.name} called tools {self._max_tool_rounds} times and still gave no answer.",
            "Give it tools that need fewer calls.",
        )

    async def close(self) -> None:
        """Close its model."""
        await self._model.close()

    async def _act_json(self, turn: Turn, caller: Caller) -> Output:
        """One JSON object, without tools."""
        request = self._request(turn, turn.messages, first=True)
        text = await ask_json(caller, self._model, request, turn.place, parse=_as_text, timeout_s=turn.timeout_s)
        return output_of(turn, text)

    def _request(self, turn: Turn, said: Sequence[Message], *, first: bool) -> Request:
        """The same bytes in front at every round: system text, tools, conversation.

        A tool that must be called is demanded in the first round only; else no round could be the last.
        """
        messages = tuple(said)
        if self._system_prompt:
            has_role = bool(messages) and messages[0].role == "system"
            parts = (self._system_prompt, messages[0].content) if has_role else (self._system_prompt,)
            messages = (Message(role="system", content="\n\n".join(parts)), *messages[has_role:])
        tools = self._specs if turn.tools_allowed and turn.json_schema is None else ()
        return Request(
            messages=messages,
            tools=tools,
            tool_choice=self._tool_choice if tools and first else "auto",
            json_schema=turn.json_schema,
            max_output_tokens=turn.max_output_tokens,
        )

    def _left_s(self, deadline: float, turn: Turn) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise AgentError(
                f"{self.name} did not finish its turn within {turn.timeout_s:g} s.",
                "Raise orchestration.step_timeout_seconds.",
            )
        return left

    async def _use(self, call: ToolCall, turn: Turn, caller: Caller, deadline: float) -> ToolUse:
        """Run one call; a tool that does not exist is an error that the model reads."""
        tool = self._tools.get(call.name)
        run = tool.run if tool else self._unknown
        spec = tool.spec if tool else None
        if spec is not None:
            run = self._gate.guarding(run, turn.task, spec.effect)
        return await caller.tool(run, call, spec, turn.place, timeout_s=self._left_s(deadline, turn))

    async def _unknown(self, call: ToolCall) -> str:
        raise ToolError(f"There is no tool {call.name!a}. There are: {', '.join(self._tools) or 'none'}.")


async def _tell_cut(name: str, completion: Completion, caller: Caller) -> None:
    """An answer that somebody cut short is an answer still; the record says so."""
    match completion.finish_reason:
        case "length":
            what, remedy = "reached its limit of tokens before it was complete", "Raise max_output_tokens."
        case "content_filter":
            what, remedy = "was stopped by the provider's content filter", "Check the task with that filter in mind."
        case _:
            return
    cut = ModelBadReply(f"The answer of {name} {what}.", remedy)
    await caller.trace.record(Degraded(what="the answer is cut off", failure=Failure.of(cut)))


def _result(use: ToolUse) -> Message:
    content = use.output if use.error is None else f"error: {use.error}"
    return Message(role="tool", content=content, tool_call_id=use.call.id)


def _as_text(found: dict[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False)


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order, worked on at the same time; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
