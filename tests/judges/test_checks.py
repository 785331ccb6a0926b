"""Verifiable checks: right, wrong, and missing are three different things."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.judges import ExactCheck, JsonSchemaCheck, NumericCheck, PythonCheck, RegexCheck
from atlas.judges.base import Check
from atlas.models import Caller
from atlas.schema import Session, Task, Verdict
from atlas.schema.errors import ConfigError, JudgeError

SessionOf = Callable[..., Session]


def solved(session: Session) -> bool:
    """A check that tests import by its path."""
    return session.answer == "42"


async def score(check: Check, session: Session, caller: Caller) -> float:
    return (await check.judge(session, caller)).score


@pytest.mark.parametrize(
    ("returned", "expected"),
    [(True, 1.0), (False, 0.0), (0.25, 0.25), (1, 1.0), (np.float32(0.5), 0.5), (np.True_, 1.0)],
)
async def test_a_function_returns_a_score(
    returned: object, expected: float, session_of: SessionOf, caller: Caller
) -> None:
    verdict = await PythonCheck(lambda session: returned, name="mine").judge(session_of(), caller)
    assert (verdict.judge, verdict.score, verdict.uncertainty) == ("check:mine", expected, 0.0)


async def test_async_functions_methods_and_two_arguments_work(session_of: SessionOf, caller: Caller) -> None:
    async def slow(session: Session) -> float:
        await asyncio.sleep(0)
        return 0.5

    class Grader:
        async def __call__(self, task: Task, answer: str) -> bool:
            return answer == task.payload["want"]

    assert await score(PythonCheck(slow), session_of(), caller) == 0.5
    assert await score(PythonCheck(Grader()), session_of(payload={"want": "42"}), caller) == 1.0
    assert await score(PythonCheck(lambda session: slow(session)), session_of(), caller) == 0.5


async def test_a_verdict_keeps_its_notes_under_the_checks_name(session_of: SessionOf, caller: Caller) -> None:
    given_verdict = Verdict(judge="whatever", score=0.7, rationale="two of three tests", student_note="close files")
    verdict = await PythonCheck(lambda session: given_verdict, name="tests").judge(session_of(), caller)
    assert verdict == given_verdict.model_copy(update={"judge": "check:tests"})


async def test_a_function_is_found_by_its_import_path(session_of: SessionOf, caller: Caller) -> None:
    assert await score(PythonCheck(f"{__name__}:solved"), session_of(), caller) == 1.0


@pytest.mark.parametrize("path", ["no_such_module_here:x", f"{__name__}:absent", "math:pi"])
async def test_a_wrong_import_path_names_itself(path: str, session_of: SessionOf, caller: Caller) -> None:
    with pytest.raises(ConfigError, match=path.split(":")[0]):
        await PythonCheck(path).judge(session_of(), caller)


@pytest.mark.parametrize("returned", [None, "1", 1.01, -0.1, float("nan"), [], {"score": 1}])
async def test_anything_else_is_no_verdict(returned: object, session_of: SessionOf, caller: Caller) -> None:
    with pytest.raises(JudgeError, match="It returned"):
        await PythonCheck(lambda session: returned).judge(session_of(), caller)


@pytest.mark.parametrize("error", [ValueError("bad"), StopIteration(), SystemExit(1), AssertionError()])
async def test_a_function_that_raises_gives_no_verdict(
    error: BaseException, session_of: SessionOf, caller: Caller
) -> None:
    def fails(session: Session) -> bool:
        raise error

    with pytest.raises(JudgeError, match=type(error).__name__):
        await PythonCheck(fails).judge(session_of(), caller)


async def test_a_function_that_hangs_gives_no_verdict_in_time(session_of: SessionOf, caller: Caller) -> None:
    async def never(session: Session) -> bool:
        await asyncio.Event().wait()
        return True

    for hanging in (lambda session: time.sleep(0.4), never):
        started = time.perf_counter()
        with pytest.raises(JudgeError, match=r"within 0\.05 s"):
            await PythonCheck(hanging, timeout_s=0.05).judge(session_of(), caller)
        assert time.perf_counter() - started < 0.3


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"city": "Rome"}', 1.0),
        (' {"city": "Rome"}\n', 1.0),
        ('{"city": 3}', 0.0),
        ("Rome", 0.0),
        ('{"city": "Rome"} and more', 0.0),
        ('{"city": "Rome", "city": "Oslo"}', 0.0),
        ("NaN", 0.0),
        ("[" * 100_000, 0.0),
        ("9" * 10_000, 0.0),
        ("\ud800", 0.0),
        ("", 0.0),
    ],
)
async def test_json_schema(answer: str, expected: float, session_of: SessionOf, caller: Caller) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert await score(JsonSchemaCheck(schema), session_of(answer), caller) == expected


def test_a_schema_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        JsonSchemaCheck({"type": "objekt"})


@pytest.mark.parametrize(
    ("pattern", "answer", "expected"),
    [
        (r"\bRome\b", "It is Rome.", 1.0),
        (r"^Rome$", "It is Rome.", 0.0),
        (r"(?i)rome", "ROME", 1.0),
        (r"(?<=\$)\d+", "costs $42", 1.0),
        (r"(?s)a.b", "a\nb", 1.0),
        ("caf\u00e9", "un caf\u00e9", 1.0),
        ("x", "\ud800x\x00", 1.0),
    ],
)
async def test_regex(pattern: str, answer: str, expected: float, session_of: SessionOf, caller: Caller) -> None:
    assert await score(RegexCheck(pattern), session_of(answer), caller) == expected


async def test_a_pattern_that_explodes_is_missing_not_zero(session_of: SessionOf, caller: Caller) -> None:
    started = time.perf_counter()
    with pytest.raises(JudgeError, match="took too long"):
        await RegexCheck(r"(x+x+)+\1y").judge(session_of("x" * 5000), caller)
    assert time.perf_counter() - started < 2


async def test_a_schemas_pattern_that_explodes_is_missing_not_zero(session_of: SessionOf, caller: Caller) -> None:
    with pytest.raises(JudgeError, match="took too long"):
        await JsonSchemaCheck({"pattern": "(x+x+)+y"}).judge(session_of(f'"{"x" * 5000}"'), caller)


async def test_other_work_goes_on_while_a_pattern_is_searched(session_of: SessionOf, caller: Caller) -> None:
    judging = asyncio.create_task(RegexCheck(r"(x+x+)+\1y").judge(session_of("x" * 5000), caller))
    turns = 0
    while not judging.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert isinstance(judging.exception(), JudgeError)
    assert turns > 10


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="no usable pattern"):
        RegexCheck("(unclosed")


async def test_exact_match(session_of: SessionOf, caller: Caller) -> None:
    assert await score(ExactCheck(), session_of(" Rome\n", {"expected": "Rome"}), caller) == 1.0
    assert await score(ExactCheck(), session_of("rome", {"expected": "Rome"}), caller) == 0.0
    assert await score(ExactCheck(ignore_case=True), session_of("rome", {"expected": "Rome"}), caller) == 1.0
    assert await score(ExactCheck("gold"), session_of("7", {"gold": [6, 7]}), caller) == 1.0
    assert await score(ExactCheck(), session_of("cafe\u0301", {"expected": "caf\u00e9"}), caller) == 1.0


async def test_numeric_match(session_of: SessionOf, caller: Caller) -> None:
    assert await score(NumericCheck(), session_of("so $1,200", {"expected": 1200}), caller) == 1.0
    assert await score(NumericCheck(), session_of("so 1201", {"expected": "1,200"}), caller) == 0.0
    assert await score(NumericCheck(), session_of("many", {"expected": 3}), caller) == 0.0
    assert await score(NumericCheck(tolerance=0.01), session_of("3.14", {"expected": 3.14159}), caller) == 1.0


@pytest.mark.parametrize("payload", [{}, {"expected": None}, {"expected": "many"}, {"expected": True}])
async def test_without_an_expected_number_there_is_no_verdict(
    payload: dict[str, Any], session_of: SessionOf, caller: Caller
) -> None:
    with pytest.raises(JudgeError, match="expected"):
        await NumericCheck().judge(session_of("3", payload), caller)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_out_of_range_is_refused(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        NumericCheck(tolerance=tolerance)


async def test_the_expected_value_is_never_in_a_rationale(session_of: SessionOf, caller: Caller) -> None:
    for check in (NumericCheck(), ExactCheck()):
        verdict = await check.judge(session_of("5", {"expected": "987654"}), caller)
        assert "987654" not in verdict.model_dump_json()


async def test_without_an_answer_there_is_no_verdict(session_of: SessionOf, caller: Caller) -> None:
    with pytest.raises(JudgeError, match="no answer"):
        await RegexCheck("x").judge(session_of(None), caller)


@given(st.text())
def test_any_answer_is_checked_without_another_error(answer: str) -> None:
    task = Task(prompt="?", payload={"expected": "3"})
    for check in (NumericCheck(), ExactCheck(), RegexCheck(r"\d"), JsonSchemaCheck({"type": "number"})):
        fault = check.fault(task, answer)
        assert fault is None or "\n" not in fault
