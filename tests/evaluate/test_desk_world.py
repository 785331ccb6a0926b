"""The desk: work is executed, the rules decide, and nothing of evaluation occurs in training."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.agents import Tool
from atlas.evaluate.desk import CLIENTS, DESKS, NEW_TOOLS, TOOLS, Desk, DeskTask, check, legacy, operations, today
from atlas.evaluate.desk.rules import BY_NAME, DESK_TOOLS, Rule, all_rules, nouns
from atlas.evaluate.desk.tasks import ALL_KEYS, Wish, object_ids, wishes, wishes_of, zipf_weights
from atlas.evaluate.desk.wording import WORDINGS, guidance_words, rule_words
from atlas.evaluate.desk.world import Ticket, call_tool, goal_calls, operands, receipt, ticket_of
from atlas.memory.text import folded, occurs
from atlas.schema import Attempt, Session, Task, ToolCall, ToolUse
from atlas.schema.errors import JudgeError

streams = st.builds(
    lambda seed, share: Desk().tasks(seed, 6, ticket_share=share),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.5, 1.0]),
)


def use(tool: str, first: str, second: str) -> ToolUse:
    names = BY_NAME[tool].arguments
    call = ToolCall(id="c", name=tool, arguments=json.dumps({names[1]: second, names[0]: first}))
    return ToolUse(call=call, output=call_tool(tool, first, second))


def session(made: DeskTask, *attempts: Attempt) -> Session:
    return Session(id="s", task=made.task, attempts=attempts, created_at=datetime.now(UTC))


def gold(made: DeskTask) -> list[ToolUse]:
    return [use(*call) for call in goal_calls(ticket_of(made.task))]


def by_rules(ticket: Ticket, rules: list[Rule]) -> list[ToolUse]:
    """What a student does that follows these rules."""
    uses: list[ToolUse] = []
    for job, rule in zip(ticket.jobs, rules, strict=True):
        ids = [each.output.rsplit(" ", 1)[1] for each in uses]
        objects = operands(ticket.desk, job, ids)
        uses.append(use(rule.tool, objects[rule.first], objects[1 - rule.first]))
    return uses


@given(streams)
def test_calls_by_todays_rules_always_pass(stream: list[DeskTask]) -> None:
    for made in stream:
        assert check(session(made, Attempt(tools=tuple(gold(made))))) == 1.0


@given(streams, st.data())
def test_any_other_rule_fails(stream: list[DeskTask], data: st.DataObject) -> None:
    for made in stream:
        ticket = ticket_of(made.task)
        rules = [today(ticket.desk, ticket.client, job.operation) for job in ticket.jobs]
        at = data.draw(st.integers(0, len(rules) - 1))
        other = data.draw(st.sampled_from([rule for rule in all_rules(ticket.desk) if rule != rules[at]]))
        wrong = by_rules(ticket, [*rules[:at], other, *rules[at + 1 :]])
        assert check(session(made, Attempt(tools=tuple(wrong)))) == 0.0
        assert all(each.error is None and each.output.startswith("ok, id ") for each in wrong)


@given(streams)
def test_a_call_too_many_or_too_few_fails(stream: list[DeskTask]) -> None:
    for made in stream:
        uses = gold(made)
        assert check(session(made, Attempt(tools=tuple(uses[1:])))) == 0.0
        assert check(session(made, Attempt(tools=(*uses, use("post", "1", "2"))))) == 0.0


def test_the_last_attempt_counts_and_steps_count_together() -> None:
    made = Desk().tasks(5, 1, ticket_share=1.0)[0]
    one, two = gold(made)
    wrong = use("post", "1", "2")
    again = (Attempt(number=1, tools=(wrong,)), Attempt(number=2, tools=(one, two)))
    assert check(session(made, *again)) == 1.0
    assert check(session(made, *reversed(again))) == 1.0
    steps = (
        Attempt(step=2, number=1, tools=(two,)),
        Attempt(step=1, number=1, tools=(wrong,)),
        Attempt(step=1, number=2, tools=(one,)),
    )
    assert check(session(made, *steps)) == 1.0
    assert check(session(made, *steps[:2])) == 0.0


@pytest.mark.parametrize(
    "arguments", ["", "[]", "{}", "null", '{"source": "1"}', '{"source": "1", "target": "2", "x": "3"}', "[" * 9999]
)
def test_a_call_that_is_none_changes_nothing(arguments: str) -> None:
    made = Desk().tasks(1, 1)[0]
    broken = ToolUse(call=ToolCall(id="c", name="post", arguments=arguments), output="ok, id 1234")
    assert check(session(made, Attempt(tools=(broken, *gold(made))))) == 1.0


def test_a_task_from_elsewhere_gets_no_verdict() -> None:
    with pytest.raises(JudgeError, match="no desk ticket"):
        check(Session(id="s", task=Task(prompt="hello"), created_at=datetime.now(UTC)))


def test_the_prompt_does_not_hold_the_answer() -> None:
    for made in Desk().tasks(3, 200, ticket_share=0.3):
        ticket = ticket_of(made.task)
        assert not any(f" {tool} " in made.task.prompt for tool in BY_NAME)
        assert all(receipt(*call) not in made.task.prompt for call in goal_calls(ticket))
        assert all(occurs(folded(wish.operation), folded(made.task.prompt)) for wish in made.wishes)


def test_a_seed_repeats_its_stream_and_another_differs() -> None:
    assert Desk().tasks(7, 40, ticket_share=0.2) == Desk().tasks(7, 40, ticket_share=0.2)
    assert Desk().tasks(7, 40) != Desk().tasks(8, 40)


def test_training_and_evaluation_share_no_phrase_and_no_object() -> None:
    train, held_out = WORDINGS["train"], WORDINGS["held_out"]
    for kind in ("openings", "starts", "joints", "links", "asides"):
        assert not set(getattr(train, kind)) & set(getattr(held_out, kind))
    assert not set(object_ids("train")) & set(object_ids("held_out"))
    assert len(object_ids("held_out")) > 60


def test_about_half_of_the_stream_follows_new_rules() -> None:
    for keys in (ALL_KEYS, *((key,) for key in ALL_KEYS), ("billing/acme", "shipping/globex")):
        ranked = wishes(keys)
        weights = zipf_weights(len(ranked), 1.0)
        changed = sum(weight for weight, wish in zip(weights, ranked, strict=True) if wish.changed)
        assert 0.35 < changed / sum(weights) < 0.65, keys


def test_desks_share_rules_and_clients_differ() -> None:
    assert sum(len(operations(desk)) for desk in DESKS) == 41
    same = [
        name for name in operations("billing") if len({legacy(d, name) for d in DESKS if name in operations(d)}) == 1
    ]
    assert len(set(same) & set(operations("shipping"))) >= 5
    differing = [(d, op) for d in DESKS for op in operations(d) if len({today(d, c, op) for c in CLIENTS}) > 1]
    assert len(differing) >= 8
    assert not any(legacy(desk, op).tool in NEW_TOOLS for desk in DESKS for op in operations(desk))
    assert all(today(w.desk, w.client, w.operation).tool in DESK_TOOLS[w.desk] for w in wishes())


def test_a_stream_keeps_to_its_keys_and_repeats_its_operations() -> None:
    stream = Desk().tasks(0, 240, keys=["billing/acme", "shipping/globex"])
    assert {made.task.learning_key for made in stream} == {"billing/acme", "shipping/globex"}
    seen = Counter((made.task.learning_key, made.wishes[0].operation) for made in stream)
    assert sum(count for count in seen.values() if count > 1) > 220
    assert len(wishes_of("billing/acme")) == 14


def test_guidance_and_lessons_use_the_same_words() -> None:
    rule = Rule(tool="credit", first=0)
    first = nouns("billing", "refund")[0]
    assert rule_words("billing", "refund", rule) == f"for refund use credit, with {first} as source"
    assert guidance_words("billing", "refund", rule) == f"For refund use credit, with {first} as source."


async def test_every_tool_can_be_registered_and_gives_a_receipt() -> None:
    for function in TOOLS:
        tool = Tool(function)
        names = tuple(tool.spec.parameters["properties"])
        assert names == BY_NAME[tool.spec.name].arguments
        output = await tool.run(ToolCall(id="c", name=tool.spec.name, arguments=json.dumps(dict.fromkeys(names, "5"))))
        assert output == f"ok, id {receipt(tool.spec.name, '5', '5')}"
    assert [Tool(function).spec.name for function in TOOLS] == list(BY_NAME)


def test_a_wish_knows_its_key() -> None:
    wish = Wish(desk="billing", client="acme", operation="refund")
    assert wish.key == "billing/acme"
