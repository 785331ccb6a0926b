"""Checks that are executed, and judges that are asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from atlas.config.llm import Block, LLMConfig
from atlas.config.reference import PythonReference


class RimConfig(Block):
    """The ensemble of model judges: small ones first, a large one only in doubt."""

    small_model: LLMConfig | None = None
    """The judges' model; None takes the teacher's."""
    large_model: LLMConfig | None = None
    """The arbiter's model; None takes the teacher's."""
    more_models: tuple[LLMConfig, ...] = ()
    """Further small models, best of other makers; the samples take turns through them, beginning with small_model."""
    active_judges: dict[str, bool] = Field(default_factory=lambda: {"process": True, "helpfulness": True})
    """Which judges are asked, by name."""
    variance_threshold: float = Field(default=0.15, ge=0, le=1)
    """Standard deviation of the scores above which the arbiter is asked."""
    uncertainty_threshold: float = Field(default=0.3, ge=0, le=1)
    """Largest uncertainty of a verdict above which the arbiter is asked."""
    max_samples: int = Field(default=4, ge=1, le=8)
    """Samples at most; two are always asked where there are two."""
    auto_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the surest auto sessions that model judges are asked about; less sure ones are asked about more."""
    dense: bool = False
    """Ask the first judges about every attempt and every step too, where no check decides: rewards for training and
    learning, at that price."""
    weights: str | None = None
    """File of `atlas judge calibrate`, from the project's folder: weighs the judges and stops them early."""
    attacks: str | None = None
    """File of `atlas judge attack`, from the project's folder: nothing is learnt from a judge that let more than
    max_fooled of them through."""
    max_fooled: float = Field(default=0.01, ge=0, le=1)
    """Largest share of attacks a judge may let through."""
    parallel_workers: int = Field(default=4, ge=1, le=256)
    """Judge calls that run at once."""
    judge_prompt: str | None = None
    """What the user's judges should look at, in addition to the principles that ship with Atlas."""


class Check(Block):
    """What every check has."""

    name: str | None = None
    """How its verdict is recorded (`check:<name>`); None takes the type."""
    weight: float = Field(default=1.0, gt=0)
    """Its share beside the other checks."""


class PythonCheck(Check, PythonReference):
    """A callable `fn(session)` or `fn(task, answer)`, sync or async, that gives a bool or a score in [0, 1]."""

    type: Literal["python"]
    """python."""
    dense: bool = False
    """Whether it is asked about each attempt at the answer too, so that guidance and lessons are judged on their own;
    it then takes the session as it stood after that attempt."""


class JsonSchemaCheck(Check):
    """The answer is a JSON text that satisfies a JSON Schema."""

    type: Literal["json_schema"]
    """json_schema."""
    json_schema: dict[str, Any] = Field(alias="schema")
    """The schema (a payload); `schema` in YAML."""


class RegexCheck(Check):
    """The pattern is found in the answer."""

    type: Literal["regex"]
    """regex."""
    pattern: str = Field(min_length=1, max_length=10_000)
    """A Python regular expression."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import re

        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"this is no regular expression: {error}") from error
        return pattern


class ExactCheck(Check):
    """The answer equals a value of the task's payload, but for the white space around it."""

    type: Literal["exact"]
    """exact."""
    expected_key: str = "expected"
    """Which value of the payload."""


class NumericCheck(Check):
    """The last number in the answer equals a number of the task's payload."""

    type: Literal["numeric"]
    """numeric."""
    expected_key: str = "expected"
    """Which value of the payload."""
    tolerance: float = Field(default=1e-6, ge=0)
    """Largest absolute difference."""


CheckConfig = Annotated[
    PythonCheck | JsonSchemaCheck | RegexCheck | ExactCheck | NumericCheck, Field(discriminator="type")
]
