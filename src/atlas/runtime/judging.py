"""From a configuration to its judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.agents import load_object
from atlas.config import AtlasConfig, CheckConfig, ExactCheck, JsonSchemaCheck, NumericCheck, PythonCheck, RegexCheck
from atlas.judges import (
    Check,
    Ensemble,
    EnsembleRules,
    LLMArbiter,
    LLMJudge,
    PythonReward,
    Rewarder,
    checks,
    load_attacks,
    load_weights,
    panel,
)
from atlas.runtime.seats import Models
from atlas.schema.errors import ConfigError


def rewarder_of(config: AtlasConfig, models: Models, folder: Path) -> Rewarder:
    """The judges as configured: a Python reward alone, or checks, samples of a small model and an arbiter.

    Raises:
        ConfigError: a check is unusable, or its code cannot be imported.
    """
    reward, rim = config.adaptive_teaching.reward, config.rim
    if reward.type == "python":
        return PythonReward(user_code(reward.target or "", folder))
    arbiter, samples = models.seat("arbiter"), samples_of(config, models)
    return Ensemble(
        [_check(check, folder) for check in config.checks],
        samples,
        LLMArbiter(arbiter, focus=focus_of(config)) if arbiter and samples else None,
        rules=EnsembleRules(
            variance_threshold=rim.variance_threshold,
            uncertainty_threshold=rim.uncertainty_threshold,
            max_samples=rim.max_samples,
            workers=rim.parallel_workers,
            auto_share=rim.auto_share,
            dense=rim.dense,
        ),
        weights=load_weights(folder / rim.weights) if rim.weights else None,
        barred=load_attacks(folder / rim.attacks).barred(rim.max_fooled) if rim.attacks else None,
    )


def samples_of(config: AtlasConfig, models: Models) -> tuple[LLMJudge, ...]:
    """The model judges as configured: they take turns through models, aspects and temperatures.

    Raises:
        ConfigError: a model cannot be opened.
    """
    rim, judge = config.rim, models.seat("judge")
    aspects = [name for name, active in rim.active_judges.items() if active]
    if judge is None or not aspects:
        return ()
    small = [judge, *map(models.open, rim.more_models)]
    return panel(small, size=max(rim.max_samples, len(small)), aspects=aspects, focus=focus_of(config))


def focus_of(config: AtlasConfig) -> str | None:
    """The user's own text for every judge; None where there is none."""
    return "\n".join(filter(None, (config.adaptive_teaching.reward.focus_prompt, config.rim.judge_prompt))) or None


def user_code(path: str, folder: Path) -> Callable[..., Any]:
    """The user's function at an import path; `folder` is searched first.

    Raises:
        ConfigError: it cannot be imported or called.
    """
    found = load_object(path, root=folder)
    if not callable(found):
        raise ConfigError(f"{path} is not callable.", "Name a function.")
    return found


def _check(config: CheckConfig, folder: Path) -> Check:
    name, weight = config.name or config.type, config.weight
    match config:
        case PythonCheck():
            return checks.PythonCheck(user_code(config.target, folder), name=name, weight=weight, dense=config.dense)
        case JsonSchemaCheck():
            return checks.JsonSchemaCheck(config.json_schema, name=name, weight=weight)
        case RegexCheck():
            return checks.RegexCheck(config.pattern, name=name, weight=weight)
        case ExactCheck():
            return checks.ExactCheck(config.expected_key, name=name, weight=weight)
        case NumericCheck():
            return checks.NumericCheck(config.expected_key, tolerance=config.tolerance, name=name, weight=weight)
