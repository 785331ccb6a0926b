"""Judges and what the ensemble makes of them."""

from atlas.judges.base import Arbiter, Check, Judge, Rewarder
from atlas.judges.checks import ExactCheck, JsonSchemaCheck, NumericCheck, PythonCheck, RegexCheck
from atlas.judges.ensemble import Ensemble, EnsembleRules
from atlas.judges.fitting import FitRules, fit_panel
from atlas.judges.llm import LLMArbiter, LLMJudge, panel
from atlas.judges.python_reward import PythonReward
from atlas.judges.sampling import mean_reward
from atlas.judges.weighing import GoldCase, PanelWeights, load_weights

__all__ = [
    "Arbiter",
    "Check",
    "Ensemble",
    "EnsembleRules",
    "ExactCheck",
    "FitRules",
    "GoldCase",
    "JsonSchemaCheck",
    "Judge",
    "LLMArbiter",
    "LLMJudge",
    "NumericCheck",
    "PanelWeights",
    "PythonCheck",
    "PythonReward",
    "RegexCheck",
    "Rewarder",
    "fit_panel",
    "load_weights",
    "mean_reward",
    "panel",
]
