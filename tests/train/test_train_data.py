"""What training reads: the same from database and file, the right role's words, no leak, no overlap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from export_kit import Bases, approve, exported, populate, store_bodies
from hypothesis import given
from hypothesis import strategies as st
from train_kit import Traces

from atlas.config.llm import LLMConfig
from atlas.models.local import open_local
from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Message,
    Request,
    Review,
    Reward,
    Session,
    Task,
    ToolCall,
)
from atlas.schema.errors import ConfigError, TrainError
from atlas.schema.events import Answered, Attempted, Finished, ModelCalled, Reviewed, Rewarded, SessionStarted
from atlas.train import Codec, DataConfig, Example, Read, checkpoint_folder, choose, encode, read_examples, serving_name
from atlas.train.inspect import CLOSE, OPEN, sample_text, summary, token_lines
from atlas.train.select import contains

EVERY = DataConfig(reviews=("approved", "pending"), eval_ratio=0.0)


def codec(name: str = "pocket-student") -> Codec:
    return Codec.load(checkpoint_folder(name), name=serving_name(name))


@pytest.mark.parametrize("role", ["student", "teacher", "judge"])
@pytest.mark.parametrize("take", ["imitate", "compare"])
async def test_database_and_file_give_the_same_samples(
    filled: tuple[str, dict[str, Session]], desk_traces: Traces, tmp_path: Path, role: str, take: str
) -> None:
    """Also invariant 10: sessions of every lane, with tools, plans, failures and missing reviews, load together."""
    await exported(filled[0], tmp_path / "mixed.jsonl")
    for url, file in ((filled[0], tmp_path / "mixed.jsonl"), (desk_traces.url, desk_traces.file)):
        live, stored = [await read_examples(where, EVERY, role=role, take=take) for where in (url, file)]
        assert live == stored
        assert live.sessions > 0
        rows = [encode(read.examples, codec(), max_tokens=4096) for read in (live, stored)]
        assert rows[0] == rows[1]


async def test_only_approved_sessions_are_read(desk_traces: Traces) -> None:
    """Invariant 9."""
    for where in (desk_traces.url, desk_traces.file):
        read = await read_examples(where, DataConfig(), role="student", take="imitate")
        every = await read_examples(where, EVERY, role="student", take="imitate")
        assert (read.sessions, every.sessions) == (desk_traces.sessions, desk_traces.sessions + 2)


async def test_filters_hold_for_database_and_file_alike(desk_traces: Traces) -> None:
    for data in (
        DataConfig(learning_key="billing/acme"),
        DataConfig(min_reward=0.5),
        DataConfig(limit=5),
        DataConfig(tenant="nobody"),
        DataConfig(learning_key="shipping/globex", min_reward=1.0, limit=3),
    ):
        live = await read_examples(desk_traces.url, data, role="student", take="imitate")
        assert live == await read_examples(desk_traces.file, data, role="student", take="imitate")


async def test_each_role_learns_its_own_words(bases: Bases, tmp_path: Path) -> None:
    url = await bases.new()
    played = await populate(tmp_path, url)
    await approve(url, *(session.id for session in played.values() if session))
    purposes = {}
    for role in ("student", "teacher", "judge"):
        read = await read_examples(url, DataConfig(), role=role, take="imitate")
        assert {example.role for example in read.examples} == {role}
        assert all(message.role != "system" for example in read.examples for message in example.reply)
        purposes[role] = {example.purpose for example in read.examples}
    assert purposes == {
        "student": {"answer", "plan", "step", "synthesis"},
        "teacher": {"verify", "plan_review"},
        "judge": {"judge"},
    }


async def test_a_teachers_word_is_worth_what_it_led_to(bases: Bases, tmp_path: Path) -> None:
    """Word 1 rejects, the next try fails: 0. Word 2 rejects, the next try succeeds: 1. Word 3 accepts it: 1."""
    url = await bases.new()
    bodies: list[Body] = [SessionStarted(task=Task(prompt="Question?"))]
    values = (0.0, 0.0, 1.0)
    for number in range(1, len(values) + 1):
        accepted = number == 3
        bodies += [
            Attempted(attempt=Attempt(number=number, output=f"answer {number}")),
            _teacher_call(number, accepted=accepted),
            Reviewed(
                review=Review(target="answer", attempt=number, accepted=accepted, guidance=None if accepted else "x")
            ),
        ]
    steps = tuple({"step": 0, "attempt": number, "value": value} for number, value in enumerate(values, start=1))
    bodies += [
        Answered(answer="answer 3", accepted=True),
        Finished(status="succeeded"),
        Rewarded(reward=Reward.model_validate({"value": 1.0, "source": "check", "steps": steps})),
    ]
    await store_bodies(tmp_path, url, bodies)
    read = await read_examples(url, EVERY, role="teacher", take="compare")
    assert [(example.attempt, example.value) for example in read.examples] == [(1, 0.0), (2, 1.0), (3, 1.0)]
    kept = await read_examples(url, EVERY, role="teacher", take="imitate")
    assert [example.attempt for example in kept.examples] == [2, 3]


def _teacher_call(number: int, *, accepted: bool) -> ModelCalled:
    reply = json.dumps({"accepted": accepted, "guidance": None if accepted else "x"})
    return ModelCalled(
        actor="teacher",
        purpose="verify",
        attempt=number,
        model="t",
        request_hash=str(number),
        request=Request(messages=(Message(role="user", content=f"Verify {number}"),), json_schema={"type": "object"}),
        completion=Completion(message=Message(role="assistant", content=reply)),
        latency_s=0.1,
    )


async def test_the_prompt_of_a_row_is_the_prompt_that_was_sampled(desk_traces: Traces) -> None:
    """Invariant 2, token for token: what the serving model reads is what stands before the learnt tokens."""
    model = open_local(LLMConfig(provider="local", model="pocket-student", temperature=0.0), Path())
    read = await read_examples(desk_traces.file, EVERY, role="student", take="compare")
    for example in read.examples[:10]:
        (row,) = codec().rows(example)
        assert row.exact
        said, spoken = list(example.prompt), 0
        for message in example.reply:
            if message.role == "assistant":
                completion = await model.complete(Request(messages=tuple(said), tools=example.tools), timeout_s=30)
                start, stop = row.learn[spoken]
                assert completion.usage.prompt_tokens == start
                assert row.ids[start:stop] == completion.token_ids == example.sampled[spoken]
                spoken += 1
            said.append(message)
    await model.close()


async def test_ids_of_another_model_are_not_trusted(desk_traces: Traces) -> None:
    read = await read_examples(desk_traces.file, EVERY, role="student", take="imitate")
    own, other = codec(), Codec.load(checkpoint_folder("pocket-student"), name="local:other")
    for example in read.examples:
        (one,), (again,) = own.rows(example), other.rows(example)
        assert (one.exact, again.exact) == (True, False)
        assert one.ids == again.ids  # The same text, so the same tokens; only where they come from differs.


async def test_a_printed_sample_marks_what_is_learnt(desk_traces: Traces) -> None:
    read = await read_examples(desk_traces.file, EVERY, role="student", take="imitate")
    own = codec()
    encoded = encode(read.examples, own, max_tokens=1024)
    numbers = summary(read, choose(read, EVERY), encoded)
    assert numbers.tokens > numbers.learnt_tokens > 0
    sample = encoded.samples[0]
    head, text = list(sample_text(sample, own))
    assert sample.example.session_id in head
    learnt = [part.split(CLOSE)[0] for part in text.split(OPEN)[1:]]
    assert len(learnt) == len(sample.learn)
    assert learnt[0].startswith("<tool_call>")
    assert all(part.endswith("<|end|>") for part in learnt)
    assert sum(" 1.0 " in line for line in token_lines(sample, own)) >= sample.learnt


def test_a_template_that_rewrites_earlier_turns_gives_a_row_for_each_reply() -> None:
    """Some templates drop earlier reasoning: each reply is then learnt behind the prompt it was really given."""
    from atlas.models.rendering import ChatTemplate

    plain = codec()
    source = (
        "{%- for message in messages -%}<|{{ message.role }}|>"
        "{%- if message.role != 'assistant' or loop.last -%}{{ message.content }}{%- else -%}gone{%- endif -%}"
        "<|end|>{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
    )
    odd = Codec(plain.tokenizer, ChatTemplate(source, shield=plain.tokenizer.shield))
    example = made("q", reply=("one", "result", "two"))
    rows = odd.rows(example)
    assert len(rows) == 2
    assert [own_text(odd, row) for row in rows] == ["one<|end|>", "two<|end|>"]
    assert len(plain.rows(example)) == 1


def own_text(own: Codec, row: object) -> str:
    return "".join(own.tokenizer.decode(row.ids[start:stop]) for start, stop in row.learn)  # pyright: ignore


def made(question: str, *, key: str = "k", prompt: str = "Question?", reply: tuple[str, ...] = ("answer",)) -> Example:
    roles = ("assistant", "tool")
    return Example(
        session_id=f"s-{question}",
        role="student",
        purpose="answer",
        step=0,
        attempt=1,
        learning_key=key,
        tenant="default",
        question=question,
        prompt=(Message(role="user", content=f"{prompt} {question}"),),
        reply=tuple(Message(role=roles[n % 2], content=text) for n, text in enumerate(reply)),
        value=1.0,
    )


def read_of(*examples: Example, **payload: object) -> Read:
    tasks = {example.session_id: Task(prompt="p", payload=payload) for example in examples}
    return Read(examples=examples, tasks=tasks, sessions=len(examples), unusable=0)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.floats(0.01, 0.9))
def test_no_question_is_in_both_splits(questions: list[int], ratio: float) -> None:
    """Invariant 13, for any data."""
    read = read_of(*(made(f"q{number}", prompt=str(at)) for at, number in enumerate(questions)))
    chosen = choose(read, DataConfig(eval_ratio=ratio))
    train, held = [{example.question for example in part} for part in (chosen.train, chosen.evaluation)]
    sessions = [{example.session_id for example in part} for part in (chosen.train, chosen.evaluation)]
    assert not train & held
    assert not sessions[0] & sessions[1]
    assert train
    assert bool(held) == (len(set(questions)) > 1)
    assert choose(read, DataConfig(eval_ratio=ratio)) == chosen


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=80), st.floats(0.05, 1.0))
def test_no_key_has_more_than_its_share(keys: list[str], share: float) -> None:
    read = read_of(*(made(f"q{at}", key=key) for at, key in enumerate(keys)))
    chosen = choose(read, DataConfig(max_share=share, eval_ratio=0.0))
    kept = [example.learning_key for example in chosen.train]
    least = max(share, 1 / len(set(keys)))
    assert set(kept) == set(keys)
    assert all(kept.count(key) <= max(1, least * len(kept) + 1e-9) for key in set(kept))
    assert len(kept) + chosen.capped == len(keys)


def test_equal_examples_are_kept_once() -> None:
    twice = made("q")
    chosen = choose(
        read_of(twice, twice.model_copy(update={"session_id": "other"}), made("r")), DataConfig(eval_ratio=0.0)
    )
    assert (len(chosen.train), chosen.doubles) == (2, 1)


def test_the_expected_answer_is_in_no_prompt() -> None:
    """Invariant 4."""
    leaking = made("q", prompt="The total is $1,234, add it.")
    read = read_of(leaking, expected=1234)
    chosen = choose(read, DataConfig(eval_ratio=0.0))
    assert (chosen.train, chosen.leaked) == ((), 1)
    with pytest.raises(TrainError, match="1 prompts hold"):
        choose(read, DataConfig(eval_ratio=0.0, leaks="stop"))
    assert choose(read_of(made("q"), expected="1234"), DataConfig(eval_ratio=0.0)).leaked == 0


@pytest.mark.parametrize(
    ("text", "gold", "there"),
    [
        ("it is forty two.", "Forty  Two", True),
        ("1,234 euro", "1234", True),
        ("12345", "1234", False),
        ("ＦＯＲＴＹ", "forty", True),
        ("order 7", "7", False),
        ("{{x}} %s \\boxed{10}", "boxed{10}", True),
        ("", "anything", False),
    ],
)
def test_an_answer_is_found_as_whole_words(text: str, gold: str, there: bool) -> None:
    assert contains(text, gold) is there


@given(st.text(), st.text())
def test_the_leak_check_takes_any_text(text: str, gold: str) -> None:
    assert contains(f"{text} {gold} {text}", gold) in (True, False)


async def test_bad_sources_say_what_is_wrong(tmp_path: Path) -> None:
    read = [read_examples(tmp_path / "no.jsonl", EVERY, role="student", take="imitate")]
    with pytest.raises(ConfigError, match=r"no\.jsonl"):
        await read[0]
    (tmp_path / "bad.jsonl").write_text('{"task": 1}\n')
    with pytest.raises(TrainError, match="Line 1"):
        await read_examples(tmp_path / "bad.jsonl", EVERY, role="student", take="imitate")
    with pytest.raises(ConfigError, match="no database"):
        await read_examples(tmp_path, EVERY, role="student", take="imitate")


def test_rows_that_are_too_long_are_counted_and_all_too_long_is_an_error() -> None:
    examples = (made("q"), made("r", prompt="word " * 500))
    assert encode(examples, codec(), max_tokens=100).too_long == 1
    with pytest.raises(TrainError, match="longer than 8 tokens"):
        encode(examples, codec(), max_tokens=8)


def test_a_tool_call_is_learnt_as_the_model_writes_it() -> None:
    call = ToolCall(id="c", name="post", arguments='{"source": "order 1"}')
    example = made("q").model_copy(update={"reply": (Message(role="assistant", tool_calls=(call,)),)})
    (row,) = codec().rows(example)
    assert own_text(codec(), row) == (
        '<tool_call>{"name": "post", "arguments": {"source": "order 1"}}</tool_call><|end|>'
    )
