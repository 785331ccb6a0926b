"""Code that makes what was found callable as it is wanted: `.atlas/generated_factories.py`."""

from __future__ import annotations

import json
from pathlib import Path

from atlas.discovery.facts import Candidate

MODULE = "generated_factories"
"""Its import name; `agents.loading` finds it under `.atlas/`."""

_HEAD = '''"""Written by `atlas env init`. Yours to edit: it is not written over without a word."""

import importlib
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _load(folder, file, module):
    """A module of the project: by its name where its folder makes it importable, else by its file."""
    sys.path.insert(0, str(ROOT / folder))
    if module:
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location("atlas_found_" + Path(file).stem.replace("-", "_"), ROOT / file)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found
'''


def direct_path(candidate: Candidate, root: Path) -> str | None:
    """`pkg.mod:name` where Atlas can take the candidate as it is, from the project's folder; else None."""
    folder, module = _module(candidate, root)
    if folder != "." or module is None or candidate.method not in (None, "__call__"):
        return None
    if candidate.needs and candidate.role == "agent":
        return None  # an environment is given its arguments by the configuration
    if candidate.kind == "factory" and candidate.role == "agent" and candidate.optional:
        return None  # with a parameter it would be taken for a function of the prompt
    return f"{module}:{candidate.name}"


def wrapper_text(candidates: list[Candidate], root: Path) -> str:
    """The module that wraps these candidates, one function for each role."""
    return _HEAD + "".join(_wrapped(each, root) for each in candidates)


def _wrapped(candidate: Candidate, root: Path) -> str:
    folder, module = _module(candidate, root)
    where = ", ".join(json.dumps(each) for each in (folder, candidate.file)) + ", " + _literal(module)
    found = f"_load({where}).{candidate.name}"
    head = f"\n\ndef {candidate.role}"
    if candidate.role == "environment":
        return f"{head}(**arguments):\n    return {found}(**arguments)\n"
    filled = "".join(f", {name}=..." for name in candidate.needs)
    told = "  # fill in\n" if candidate.needs else "\n"
    match candidate.kind:
        case "object":
            return f"\n\nagent = {found}\n"
        case "factory":
            return f"{head}():\n    return {found}({filled[2:]}){told}"
        case "class" if candidate.framework:
            return f"{head}():\n    return {found}({filled[2:]}).{candidate.method}(){told}"
        case "class":
            method = f".{candidate.method or 'act'}"
            return f"{head}(prompt):\n    return {found}({filled[2:]}){method}(prompt){told}"
        case _:
            return f"{head}(prompt):\n    return {found}(prompt{filled}){told}"


def _module(candidate: Candidate, root: Path) -> tuple[str, str | None]:
    """The folder to import it from, relative to the project, and its module's name there; None where it has none."""
    path = Path(candidate.file)
    folder = path.parent
    while folder != Path() and (root / folder / "__init__.py").is_file():
        folder = folder.parent
    parts = path.relative_to(folder).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
    named = all(part.isidentifier() for part in parts)
    return folder.as_posix(), ".".join(parts) if named else None


def _literal(text: str | None) -> str:
    return "None" if text is None else json.dumps(text)
