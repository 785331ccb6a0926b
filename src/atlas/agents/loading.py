"""The user's own objects by their import path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from atlas.models.text import one_line
from atlas.schema import content_hash
from atlas.schema.errors import ConfigError

GENERATED = "generated_factories"
"""The module that `atlas env init` writes to `.atlas/`."""


def load_object(path: str, *, root: Path | None = None) -> object:
    """The object that `pkg.module:attribute` names; `root` is searched first, as if Python had been started there.

    Raises:
        ConfigError: there is no such module or attribute, or importing it raises.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{path!a} is no import path.", "Write it as pkg.module:name.")
    if root is not None and str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        if root is not None and module_name == GENERATED:
            found: object = _generated(root.resolve() / ".atlas" / f"{GENERATED}.py")
        else:
            found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{path!a} cannot be imported: there is no module {error.name!a}.",
            "Install it, or name the folder that holds it with --path.",
        ) from error
    except Exception as error:  # The boundary to the user's module, which runs while it is imported.
        raise ConfigError(
            f"{path!a} cannot be imported: {type(error).__name__}: {one_line(error)}", "Correct the module."
        ) from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"{module_name} has no {attribute!a}.", "Correct the import path.")
        found = getattr(found, name)
    return found


def _generated(file: Path) -> ModuleType:
    """The module of one project; two projects in one process have one each."""
    name = f"{GENERATED}_{content_hash(str(file))[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.exists():
        raise ModuleNotFoundError(f"no {file}", name=f".atlas/{GENERATED}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
