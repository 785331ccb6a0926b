"""Judges and what the ensemble makes of them."""

from atlas.judges.base import Arbiter, Check, Judge, Rewarder
from atlas.judges.checks import ExactCheck, JsonSchemaCheck, NumericCheck, PythonCheck, RegexCheck

__all__ = [
    "Arbiter",
    "Check",
    "ExactCheck",
    "JsonSchemaCheck",
    "Judge",
    "NumericCheck",
    "PythonCheck",
    "RegexCheck",
    "Rewarder",
]
