"""One training conversation of a pocket model, built by the very functions that build prompts at run time."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.evaluate.desk.rules import (
    BY_NAME,
    CLIENTS,
    DESK_TOOLS,
    TOOLS,
    DeskName,
    Rule,
    all_rules,
    legacy,
    nouns,
    today,
)
from atlas.evaluate.desk.tasks import DeskTask, Wish, named_object
from atlas.evaluate.desk.wording import rule_words
from atlas.evaluate.desk.world import Job, Ticket, call_tool, ticket_of
from atlas.models.rendering import ChatTemplate
from atlas.models.tokenizer import Tokenizer
from atlas.schema import (
    Cue,
    Entry,
    Message,
    Recalled,
    Step,
    ToolCall,
    ToolSpec,
    ToolUse,
)

SESSION_ID_BITS = 64
VERDICT_WEIGHT = 4.0
"""How much the one token that accepts or refuses counts beside others."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation and which of its assistant turns are to be learnt."""

    messages: tuple[Message, ...]
    learn: tuple[bool, ...]
    tools: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as token ids; `learn` says how much the prediction of each token counts, 0 for most."""

    ids: np.ndarray
    learn: np.ndarray


def spec(name: str) -> ToolSpec:
    """A desk tool as a model sees it."""
    properties = {argument: {"type": "string"} for argument in BY_NAME[name].arguments}
    return ToolSpec(
        name=name,
        parameters={
            "type": "object",
            "properties": properties,
            "required": list(properties),
        },
        effect="idempotent",
    )


SPECS = {tool.name: spec(tool.name) for tool in TOOLS}


def encode(sample: Sample, tokenizer: Tokenizer, template: ChatTemplate) -> Row:
    """Token ids and the mask of the assistant's tokens, each turn's end included."""
    ids = np.array(
        tokenizer.encode_chat(template.render(sample.messages, sample.tools, ask=False)),
        dtype=np.int64,
    )
    learn = np.zeros(len(ids), dtype=np.float32)
    assistant, end = tokenizer.id_of("<|assistant|>"), tokenizer.id_of("<|end|>")
    starts = np.flatnonzero(ids == assistant)
    ends = np.flatnonzero(ids == end)
    for start, wanted in zip(starts, sample.learn, strict=True):
        if wanted:
            learn[start + 1 : ends[ends > start][0] + 1] = 1.0
    for word in ("true", "false"):
        learn[ids == tokenizer.encode(word)[0]] *= VERDICT_WEIGHT
    return Row(ids=ids, learn=learn)


def session_id(rng: random.Random) -> str:
    """Any session's id; the fence marks follow from it."""
    return f"{rng.getrandbits(SESSION_ID_BITS):x}"


def entry(desk: DeskName, operation: str, rule: Rule, number: int) -> Entry:
    """A playbook entry in the words that the curator uses."""
    return Entry(
        id=f"e{number}",
        audience="student",
        cue=Cue(text=operation),
        action=rule_words(desk, operation, rule),
        state="active",
    )


def recalled(entries: Sequence[Entry]) -> Recalled:
    """What the student of a session sees."""
    return Recalled(audience="student", version=1, shown=tuple(entries))


def free_rules(desk: DeskName, operation: str) -> list[Rule]:
    """Rules that training may use for an operation: all but the new ones, so that those stay unseen."""
    old = legacy(desk, operation)
    new = {today(desk, client, operation) for client in CLIENTS} - {old}
    return [rule for rule in all_rules(desk) if rule not in new]


def tool_use(rule: Rule, objects: tuple[str, str]) -> ToolUse:
    """The call that a rule makes of two objects, and its receipt."""
    first, second = objects[rule.first], objects[1 - rule.first]
    names = BY_NAME[rule.tool].arguments
    arguments = json.dumps({names[0]: first, names[1]: second})
    return ToolUse(
        call=ToolCall(id="", name=rule.tool, arguments=arguments),
        output=call_tool(rule.tool, first, second),
    )


def receipt_of(use: ToolUse) -> str:
    """The id in a tool's output."""
    return use.output.rsplit(" ", 1)[1]


def final_words(uses: Sequence[ToolUse]) -> str:
    """The student's answer after its calls."""
    ids = [receipt_of(use) for use in uses]
    return f"Done, id {ids[0]}." if len(ids) == 1 else f"Done, ids {' and '.join(ids)}."


def said(uses: Sequence[ToolUse], words: str) -> list[Message]:
    """The assistant's turns: each call with its result, then the final words."""
    turns: list[Message] = []
    for use in uses:
        turns += [
            Message(role="assistant", tool_calls=(use.call,)),
            Message(role="tool", content=use.output),
        ]
    return [*turns, Message(role="assistant", content=words)]


def described(desk: DeskName, job: Job) -> str:
    """A step's description in the words that the student's plans use."""
    kinds = nouns(desk, job.operation)
    first, second = (named_object(kind, name) for kind, name in zip(kinds, job.objects, strict=True))
    return f"{job.operation} {first} with {second}"


def good_plan(made: DeskTask) -> tuple[Step, ...]:
    """The plan that fits a task."""
    ticket = ticket_of(made.task)
    steps: list[Step] = []
    for number, job in enumerate(ticket.jobs, start=1):
        needs = tuple(sorted({int(name[1:]) for name in job.objects if name.startswith("#")}))
        steps.append(Step(id=number, description=described(ticket.desk, job), depends_on=needs))
    return tuple(steps)


def ticket_and_wishes(made: DeskTask) -> tuple[Ticket, tuple[Wish, ...]]:
    """The ticket beside the wishes it came from."""
    return ticket_of(made.task), made.wishes


def desk_specs(desk: DeskName | None) -> list[ToolSpec]:
    """The specs of one desk's tools, or of all."""
    return [SPECS[name] for name in (DESK_TOOLS[desk] if desk else SPECS)]
