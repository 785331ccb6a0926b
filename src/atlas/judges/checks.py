"""Verifiable checks: executed on the answer, never asked. A check that cannot tell gives no verdict, never a zero."""

from __future__ import annotations

import asyncio
import json
import math
import unicodedata
from abc import ABC, abstractmethod
from typing import Any, NoReturn, SupportsFloat, cast

from atlas.judges.numbers import Number, final_number
from atlas.judges.user_code import UserCode, positional_count, resolved, run_user_code
from atlas.models import Caller, check_schema, violation
from atlas.models.text import one_line, scrub
from atlas.schema import Session, Task, Verdict
from atlas.schema.errors import ConfigError, JudgeError

_REGEX_S = 0.5
"""Seconds after which the search for a pattern is given up."""


class PythonCheck:
    """The user's own function on the finished session: tests, an environment's end state, a business rule."""

    def __init__(
        self,
        fn: UserCode | str,
        *,
        name: str = "python",
        weight: float = 1.0,
        dense: bool = False,
        timeout_s: float = 60.0,
    ) -> None:
        """`fn(session)` or `fn(task, answer)`, sync or async; or its import path `pkg.mod:fn`, imported when needed.

        It returns a bool, a score in [0, 1] or a Verdict. With `dense` it is called for each attempt at the answer too,
        with the session as if it had ended there.
        """
        self.name = f"check:{name}"
        self.weight = weight
        self.dense = dense
        self._fn = fn
        self._timeout_s = timeout_s

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        """What the function says.

        Raises:
            JudgeError: it raised, hung, or returned something else.
            ConfigError: it cannot be imported.
        """
        fn = resolved(self._fn)
        arguments = (session,) if positional_count(fn) < 2 else (session.task, session.answer or "")
        return as_verdict(await run_user_code(fn, *arguments, timeout_s=self._timeout_s), self.name)


def as_verdict(value: object, judge: str) -> Verdict:
    """A function's return value as a verdict.

    Raises:
        JudgeError: it is neither a bool, nor a number in [0, 1], nor a Verdict.
    """
    if isinstance(value, Verdict):
        return value.model_copy(update={"judge": judge})
    if not isinstance(value, SupportsFloat):
        raise JudgeError(f"It returned {type(value).__name__}.", "Return a bool, a number in [0, 1] or a Verdict.")
    score = float(value)
    if not 0 <= score <= 1:
        raise JudgeError(f"It returned {score}.", "Return a number in [0, 1].")
    return Verdict(judge=judge, score=score, rationale=f"returned {score:g}")


class AnswerCheck(ABC):
    """A check that needs the task and the answer's text alone."""

    dense = True

    def __init__(self, name: str, weight: float) -> None:
        self.name = f"check:{name}"
        self.weight = weight

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        """1 or 0 with the reason.

        Raises:
            JudgeError: there is no answer, or nothing to compare it with.
        """
        if session.answer is None:
            raise JudgeError("The session has no answer.")
        fault = await asyncio.to_thread(self.fault, session.task, scrub(session.answer))
        return Verdict(judge=self.name, score=0.0 if fault else 1.0, rationale=fault or "holds")

    @abstractmethod
    def fault(self, task: Task, answer: str) -> str | None:
        """What is wrong with the answer in one line; None when nothing is.

        Raises:
            JudgeError: there is nothing to compare it with.
        """


class JsonSchemaCheck(AnswerCheck):
    """The answer is one JSON text that satisfies a JSON Schema."""

    def __init__(self, schema: dict[str, Any], *, name: str = "json_schema", weight: float = 1.0) -> None:
        """`schema` is a payload.

        Raises:
            ConfigError: it is no JSON Schema.
        """
        super().__init__(name, weight)
        check_schema(schema)
        self._schema = schema

    def fault(self, task: Task, answer: str) -> str | None:
        """How the answer breaks the schema.

        Raises:
            JudgeError: nobody can tell, as where a pattern of the schema took too long.
        """
        try:
            value = json.loads(answer, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            return f"not JSON: {one_line(error)}"
        try:
            return violation(value, self._schema)
        except ValueError as error:
            raise JudgeError(f"The answer cannot be checked: {one_line(error)}.", "Simplify the schema.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("an object repeats a key")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class RegexCheck(AnswerCheck):
    """The pattern is found in the answer.

    The pattern is the user's; the answer is not. So it runs in an engine that gives up after a while and lets other
    threads run meanwhile, where Python's own could hang the process. The syntax is Python's.
    """

    def __init__(self, pattern: str, *, name: str = "regex", weight: float = 1.0) -> None:
        """`pattern` matches anywhere unless it is anchored by `^` and `$`.

        Raises:
            ConfigError: it is no regular expression.
        """
        import regex

        super().__init__(name, weight)
        self._shown = one_line(pattern, 80)
        try:
            self._pattern = regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"The check {self.name} has no usable pattern: {self._shown}.", f"Correct it: {one_line(error)}."
            ) from error

    def fault(self, task: Task, answer: str) -> str | None:
        """That the pattern does not occur.

        Raises:
            JudgeError: the search took too long.
        """
        try:
            found = self._pattern.search(answer, timeout=_REGEX_S)
        except TimeoutError:
            raise JudgeError(f"The search for {self._shown} took too long.", "Simplify the pattern.") from None
        return None if found else f"{self._shown} does not occur"


class ExactCheck(AnswerCheck):
    """The answer equals a value of the task's payload, or one of several, but for white space around it."""

    def __init__(
        self, key: str = "expected", *, ignore_case: bool = False, name: str = "exact", weight: float = 1.0
    ) -> None:
        """`key` names the value in the payload: a text or number, or a list of accepted ones."""
        super().__init__(name, weight)
        self._key = key
        self._ignore_case = ignore_case

    def fault(self, task: Task, answer: str) -> str | None:
        """That it equals none of them."""
        expected = _expected(task, self._key)
        accepted = cast("list[object]", expected) if isinstance(expected, list) else [expected]
        found = self._plain(answer)
        return None if any(self._plain(str(one)) == found for one in accepted) else "not the expected text"

    def _plain(self, text: str) -> str:
        plain = unicodedata.normalize("NFC", text.strip())
        return plain.casefold() if self._ignore_case else plain


class NumericCheck(AnswerCheck):
    r"""The number the answer arrives at (\boxed{}, ####, else the last one) equals a number of the task's payload."""

    def __init__(
        self, key: str = "expected", *, tolerance: float = 1e-6, name: str = "numeric", weight: float = 1.0
    ) -> None:
        """`tolerance` is the largest absolute difference.

        Raises:
            ConfigError: the tolerance is negative or not finite.
        """
        super().__init__(name, weight)
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise ConfigError(f"The tolerance of {self.name} is {tolerance}.", "Give a number from 0.")
        self._key = key
        self._tolerance = tolerance

    def fault(self, task: Task, answer: str) -> str | None:
        """That there is no number, or another one."""
        expected = self._number(_expected(task, self._key))
        found = final_number(answer)
        if found is None:
            return "no number in the answer"
        return None if found.equals(expected, self._tolerance) else "not the expected number"

    def _number(self, value: object) -> Number:
        number = None if isinstance(value, bool) else final_number(str(value))
        if number is None:
            raise JudgeError(f"payload[{self._key!r}] is no number.", "Put the expected number there.")
        return number


def _expected(task: Task, key: str) -> object:
    if task.payload.get(key) is None:
        raise JudgeError(f"The task's payload has no {key!r}.", "Put the expected value there.")
    return task.payload[key]
