"""A configuration file to a checked tree, every problem of the file told at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atlas.config.env import Path as Place
from atlas.config.env import expand_env, may_read_environment
from atlas.config.explain import explain
from atlas.config.tree import AtlasConfig
from atlas.config.yaml_text import Document, Problem, Tree, read_yaml
from atlas.schema.errors import ConfigError

EXAMPLE = "agent: {type: openai, llm: {model: gpt-5}}"
"""The smallest configuration."""


def load_config(path: str | Path, *, environ: Mapping[str, str] | None = None) -> AtlasConfig:
    """Read and check a YAML file. `environ` stands in for the process's environment.

    Raises:
        ConfigError: one line for each problem, `file:line: what is wrong`.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {file}.", f"Write one, for example: {EXAMPLE}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text.", "Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({type(error).__name__}).", "Give a readable YAML file.") from error
    return parse_config(text, name=str(file), environ=environ)


def parse_config(text: str, *, name: str = "config", environ: Mapping[str, str] | None = None) -> AtlasConfig:
    """Check a configuration given as YAML text; `name` stands for it in errors.

    Raises:
        ConfigError: one line for each problem, `name:line: what is wrong`.
    """
    document = read_yaml(text)
    problems = document.problems
    if not problems and not isinstance(document.value, dict):
        what = "empty" if document.value is None else "not a mapping of blocks"
        problems.append(Problem(0, f"the file is {what}; the smallest configuration is {EXAMPLE}"))
    if isinstance(document.value, dict):
        document.value = _expanded(document.value, (), document, environ)
        config = _validated(document)
        if config is not None and not problems:
            return config
    raise ConfigError("\n".join(_line(name, problem) for problem in sorted(set(problems))))


def config_for(agent: str | None, *, api_base: str | None = None) -> AtlasConfig:
    """The configuration of hello world: `provider:model`, or None for a callable given in Python. Nothing is stored.

    Raises:
        ConfigError: the text names no model.
    """
    block: dict[str, Any] = {"type": "given"}
    if agent is not None:
        provider, colon, model = agent.partition(":")
        provider, model = (provider, model) if colon else ("openai", agent)
        if not provider.strip() or not model.strip():
            raise ConfigError(f"agent={agent!r} names no model.", 'Write provider:model, for example "openai:gpt-5".')
        block = {"type": "openai", "llm": {"provider": provider, "model": model, "api_base": api_base}}
    return AtlasConfig.model_validate({"agent": block, "storage": None})


def _validated(document: Document) -> AtlasConfig | None:
    try:
        config = AtlasConfig.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        told = [explain(detail, document, AtlasConfig) for detail in details]
        document.problems.extend(problem for problem in told if problem is not None)
        return None
    if config.agent.type == "given":
        text = "agent.type given is for a callable handed to run() in Python; a file names one by type: python"
        document.tell(document.line_of(("agent", "type")), text)
        return None
    return config


def _expanded(value: Tree, path: Place, document: Document, environ: Mapping[str, str] | None) -> Tree:
    """The tree with the environment's values where they are allowed; headers are only checked."""
    match value:
        case dict():
            return {key: _expanded(child, (*path, key), document, environ) for key, child in value.items()}
        case list():
            return [_expanded(child, (*path, index), document, environ) for index, child in enumerate(value)]
        case str() if may_read_environment(path):
            try:
                expanded = expand_env(value, environ)
            except ConfigError as error:
                document.tell(document.line_of(path), str(error), path)
                return value
            # A header keeps its reference: the client that sends it must know which values are secrets.
            return value if path[-2:-1] == ("headers",) else expanded
        case _:
            return value


def _line(name: str, problem: Problem) -> str:
    return f"{name}:{problem.line}: {problem.text}" if problem.line else f"{name}: {problem.text}"
