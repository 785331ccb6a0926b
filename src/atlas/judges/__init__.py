"""Judges and what the ensemble makes of them."""

from atlas.judges.attacks import AttackFile, AttackReport, attack, load_attacks
from atlas.judges.base import Arbiter, Check, Judge, Rewarder
from atlas.judges.batch import Piece, Scorer
from atlas.judges.checks import ExactCheck, JsonSchemaCheck, NumericCheck, PythonCheck, RegexCheck
from atlas.judges.dense import Improvement, improvements
from atlas.judges.ensemble import Ensemble, EnsembleRules
from atlas.judges.fitting import FitRules, fit_panel
from atlas.judges.llm import LLMArbiter, LLMJudge, panel
from atlas.judges.python_reward import PythonReward
from atlas.judges.sampling import mean_reward
from atlas.judges.weighing import GoldCase, PanelWeights, load_weights

__all__ = [
    "Arbiter",
    "AttackFile",
    "AttackReport",
    "Check",
    "Ensemble",
    "EnsembleRules",
    "ExactCheck",
    "FitRules",
    "GoldCase",
    "Improvement",
    "JsonSchemaCheck",
    "Judge",
    "LLMArbiter",
    "LLMJudge",
    "NumericCheck",
    "PanelWeights",
    "Piece",
    "PythonCheck",
    "PythonReward",
    "RegexCheck",
    "Rewarder",
    "Scorer",
    "attack",
    "fit_panel",
    "improvements",
    "load_attacks",
    "load_weights",
    "mean_reward",
    "panel",
]
