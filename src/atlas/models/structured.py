"""Answers that must be JSON: a strict parser, and one repair try before the answer counts as none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from atlas.models.base import Model
from atlas.models.caller import Caller, Place
from atlas.models.json_schema import violation
from atlas.models.text import one_line, scrub
from atlas.schema import Message, Request
from atlas.schema.errors import ModelBadReply

T = TypeVar("T")

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\r?\n(.*)\n[ \t]*```", re.DOTALL)
_MAX_ECHO = 20_000


def parse_object(text: str) -> dict[str, Any]:
    """The one JSON object that the text is.

    White space around it and one code fence around all of it are tolerated. Prose before or after, a second value, a
    repeated key, NaN, an infinite number or a lone surrogate are not.

    Raises:
        ValueError: it is anything else; the message says what, for the model to read.
    """
    body = text.strip()
    fenced = _FENCED.fullmatch(body)
    try:
        found = json.loads(
            fenced[1] if fenced else body,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not one JSON object: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is JSON, but not an object")
    text = json.dumps(found, ensure_ascii=False)
    if scrub(text) != text:
        raise ValueError("it holds half of a surrogate pair")
    return cast(dict[str, Any], found)


async def ask_json(
    caller: Caller,
    model: Model,
    request: Request,
    place: Place,
    *,
    parse: Callable[[dict[str, Any]], T],
    timeout_s: float | None = None,
) -> T:
    """What `parse` makes of the model's JSON object; a reply that breaks the schema gets one repair try.

    `request.json_schema` is the shape. `parse` may refuse a value that fits the schema by raising ValueError.

    Raises:
        ModelBadReply: the second reply was not usable either.
        ModelError: the model failed.
        BudgetError: the session's token budget is spent.
    """
    asked, said, problem = request, "", ""
    for _ in range(2):
        try:
            completion = await caller.complete(model, asked, place, timeout_s=timeout_s)
            said = completion.message.content
            found = parse_object(said)
            problem = violation(found, request.json_schema or {}) or ""
            if not problem:
                return parse(found)
        except ModelBadReply as error:
            said, problem = error.text, error.message
        except ValueError as error:
            problem = one_line(error)
        asked = _repair(request, said, problem)
    raise ModelBadReply(
        f"{model.name} gave no usable JSON for {place.purpose}, twice: {problem}.",
        "Use a model that follows a JSON schema.",
        text=said[:2000],
    )


def _repair(request: Request, said: str, problem: str) -> Request:
    """The same conversation with the bad reply and its fault at the end, so that prefix caches still hit."""
    wrong = f"Your reply cannot be used: {problem}. Reply again with the complete JSON object and nothing else."
    reply = (Message(role="assistant", content=said[:_MAX_ECHO]),) if said else ()
    return request.model_copy(update={"messages": (*request.messages, *reply, Message(role="user", content=wrong))})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it repeats a key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
