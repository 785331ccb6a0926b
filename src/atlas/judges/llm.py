"""Judges that are models: asked with a strict schema, believed only when they keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.judges.messages import for_arbiter, for_judge, judge_prompt
from atlas.models import Caller, Model, Place, ask_json
from atlas.schema import Message, Request, Session, Verdict
from atlas.schema.errors import JudgeError, ModelBadReply

VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "principles": {
            "type": "array",
            "maxItems": 8,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "weight": {"type": "number", "minimum": 0, "maximum": 1},
                    "description": {"type": "string"},
                },
                "required": ["name", "weight", "description"],
                "additionalProperties": False,
            },
        },
        "rationale": {"type": "string", "minLength": 1},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "uncertainty": {"type": "number", "minimum": 0, "maximum": 1},
        "student_note": {"type": ["string", "null"]},
        "teacher_note": {"type": ["string", "null"]},
    },
    "required": ["principles", "rationale", "score", "uncertainty", "student_note", "teacher_note"],
    "additionalProperties": False,
}
"""A verdict on the wire. The reason stands before the score, so that the score follows from it."""

ASPECTS = ("process", "helpfulness")
"""Aspects with a text of their own."""

_EMPTY_WORDS = frozenset(
    {"", "solution", "thought process", "the answer is correct", "lets solve this problem step by step"}
)
"""Texts without substance that make model judges say yes. Source: arXiv 2507.08794."""
_LONGEST_EMPTY = 200
"""Characters; a longer answer says something, or is long enough for a judge to see that it does not."""


class LLMJudge:
    """One sample of a model's opinion."""

    def __init__(
        self,
        model: Model,
        *,
        aspect: str = "helpfulness",
        temperature: float | None = None,
        focus: str | None = None,
        max_output_tokens: int = 1024,
    ) -> None:
        """`aspect` names the judge and what it looks at first; `focus` is the user's own text behind the static one."""
        degree = "" if temperature is None else f"@{temperature:g}"
        self.name = f"{aspect}:{model.name}{degree}"
        self._model = model
        self._temperature = temperature
        self._static = _static("judge", aspect, focus)
        self._max_output_tokens = max_output_tokens

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        """Ask the model.

        Raises:
            JudgeError: the answer has no substance to judge, or the reply kept no schema even after a repair.
            ModelError: the model failed.
            BudgetError: the session's token budget is spent.
        """
        _need_substance(session)
        request = _request(for_judge(session, self._static), self._temperature, self._max_output_tokens)
        return await _ask(self._model, request, Place(actor="judge", purpose="judge"), self.name, caller)


class LLMArbiter:
    """A larger model that sees what the samples said."""

    def __init__(
        self,
        model: Model,
        *,
        temperature: float | None = None,
        focus: str | None = None,
        max_output_tokens: int = 1024,
    ) -> None:
        """`focus` is the user's own text behind the static one."""
        self.name = f"arbiter:{model.name}"
        self._model = model
        self._temperature = temperature
        self._static = _static("arbiter", None, focus)
        self._max_output_tokens = max_output_tokens

    async def settle(self, session: Session, verdicts: tuple[Verdict, ...], caller: Caller) -> Verdict:
        """Ask the model.

        Raises:
            JudgeError: the answer has no substance to judge, or the reply kept no schema even after a repair.
            ModelError: the model failed.
            BudgetError: the session's token budget is spent.
        """
        _need_substance(session)
        messages = for_arbiter(session, verdicts, self._static)
        request = _request(messages, self._temperature, self._max_output_tokens)
        return await _ask(self._model, request, Place(actor="arbiter", purpose="arbiter"), self.name, caller)


def panel(
    models: Sequence[Model],
    *,
    size: int = 4,
    aspects: Sequence[str] = ASPECTS,
    temperatures: Sequence[float | None] = (0.2, 0.7, 0.4, 1.0, 0.3, 0.8, 0.5, 0.9),
    focus: str | None = None,
) -> tuple[LLMJudge, ...]:
    """`size` samples that take turns through models, aspects and temperatures; no two neighbours are the same."""
    return tuple(
        LLMJudge(
            models[number % len(models)],
            aspect=aspects[number % len(aspects)],
            temperature=temperatures[number % len(temperatures)],
            focus=focus,
        )
        for number in range(size)
    )


def _static(role: str, aspect: str | None, focus: str | None) -> str:
    texts = [judge_prompt(role)]
    if aspect in ASPECTS:
        texts.append(judge_prompt(aspect))
    return "\n\n".join([*texts, focus.strip()] if focus else texts)


def _need_substance(session: Session) -> None:
    """A model is not asked about nothing: it may well praise it."""
    if len(session.answer or "") > _LONGEST_EMPTY:
        return
    said = "".join(letter for letter in session.answer or "" if letter.isalnum() or letter == " ")
    if said.strip().casefold() in _EMPTY_WORDS:
        raise JudgeError("The answer has no substance to judge.")


def _request(messages: tuple[Message, ...], temperature: float | None, max_output_tokens: int) -> Request:
    return Request(messages=messages, json_schema=VERDICT, temperature=temperature, max_output_tokens=max_output_tokens)


async def _ask(model: Model, request: Request, place: Place, name: str, caller: Caller) -> Verdict:
    def parse(found: Mapping[str, Any]) -> Verdict:
        return Verdict.model_validate({**found, "judge": name})

    try:
        return await ask_json(caller, model, request, place, parse=parse)
    except ModelBadReply as error:
        raise JudgeError(error.message, error.remedy) from error
