"""Where a checkpoint lies."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from atlas.models.local import POCKET
from atlas.schema.errors import ConfigError


def checkpoint_folder(name: str, base: Path = Path()) -> Path:
    """The folder of a checkpoint: one that ships with Atlas by its name, else a folder under `base`.

    Raises:
        ConfigError: there is none.
    """
    if name in POCKET:
        return Path(str(files("atlas.models").joinpath("pocket", name)))
    folder = base / name
    if not (folder / "config.json").is_file():
        raise ConfigError(f"There is no checkpoint in {folder}.", f"Name a folder, or one of {', '.join(POCKET)}.")
    return folder


def serving_name(name: str) -> str:
    """What a completion of `provider: local` says its model is, as it is recorded."""
    return f"local:{name}"
