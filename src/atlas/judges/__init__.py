"""Judges and what the ensemble makes of them."""

from atlas.judges.base import Arbiter, Check, Judge, Rewarder
from atlas.judges.checks import ExactCheck, JsonSchemaCheck, NumericCheck, PythonCheck, RegexCheck
from atlas.judges.ensemble import Ensemble, EnsembleRules
from atlas.judges.llm import LLMArbiter, LLMJudge, panel
from atlas.judges.python_reward import PythonReward

__all__ = [
    "Arbiter",
    "Check",
    "Ensemble",
    "EnsembleRules",
    "ExactCheck",
    "JsonSchemaCheck",
    "Judge",
    "LLMArbiter",
    "LLMJudge",
    "NumericCheck",
    "PythonCheck",
    "PythonReward",
    "RegexCheck",
    "Rewarder",
    "panel",
]
