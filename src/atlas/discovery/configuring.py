"""The generated configuration: short, commented, and runnable at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping

from atlas.discovery.facts import Candidate
from atlas.discovery.record import Discovered

_HEAD = """\
# Written by `atlas env init`. Yours to edit: it is not written over without a word.
# Every key and its default: atlas config check --show .atlas/generated_config.yaml
"""
_TEACHER = """\
# A teacher verifies the agent's answers, gives guidance, and is judge and curator where these name no model.
"""
_PROVIDERS = (
    ("openai", ("gpt-", "chatgpt-", "o1", "o3", "o4"), "OPENAI_API_KEY", "gpt-5-mini"),
    ("anthropic", ("claude-",), "ANTHROPIC_API_KEY", "claude-sonnet-4-5"),
    ("gemini", ("gemini-",), "GEMINI_API_KEY", "gemini-2.5-flash"),
)
"""Provider, how its models' names begin, the variable with its key, and a model of it."""


def config_text(discovered: Discovered, environ: Mapping[str, str]) -> str:
    """The YAML of a discovery; `environ` says which keys are set, and no value of it is written."""
    llm = _llm(discovered, environ)
    parts = [_HEAD, _agent(discovered, llm)]
    if discovered.environment is not None:
        world = {
            "import_path": discovered.environment.import_path,
            "arguments": discovered.arguments,
            "max_steps": 20,
        }
        parts.append(f"environment: {json.dumps(world)}\n")
        parts.append("checks:\n")
        parts.append('  - {type: python, name: environment, import_path: "atlas.agents:episode_reward"}\n')
    if llm is not None:
        parts.append(f"{_TEACHER}teacher:\n  llm: {llm}\n")
    else:
        example = "{provider: openai, model: gpt-5-mini}"
        parts.append(f"{_TEACHER}# Give it a model whose key is set:\n# teacher:\n#   llm: {example}\n")
    parts.append("storage: {}    # Postgres that starts by itself under .atlas/\n")
    return "".join(parts)


def _agent(discovered: Discovered, llm: str | None) -> str:
    chosen = discovered.agent
    if chosen is None:
        model = llm or "{provider: local, model: pocket-student}"
        note = "" if llm else "# The small model that ships with Atlas, so that it runs with no key.\n"
        return f"{note}agent:\n  type: openai\n  llm: {model}\n"
    name = json.dumps(_name(chosen.candidate))
    if chosen.import_path is None:
        command = json.dumps([_python(), chosen.candidate.file])
        return f"agent:\n  type: process\n  name: {name}\n  command: {command}\n"
    return f"agent:\n  type: python\n  name: {name}\n  import_path: {json.dumps(chosen.import_path)}\n"


def _llm(discovered: Discovered, environ: Mapping[str, str]) -> str | None:
    """A model whose key is set: one that the project names, else its provider's; None where no key is set."""
    for provider, begins, key, default in _PROVIDERS:
        if environ.get(key):
            named = [name.rpartition("/")[2].rpartition(":")[2] for name in discovered.models]
            model = next((name for name in named if name.startswith(begins)), default)
            return json.dumps({"provider": provider, "model": model})
    return None


def _name(candidate: Candidate) -> str:
    return candidate.name or candidate.file


def _python() -> str:
    return "python" if shutil.which("python") else "python3"
