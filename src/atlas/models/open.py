"""From a configuration to a model."""

from __future__ import annotations

from pathlib import Path

from atlas.config.llm import LLMConfig
from atlas.models.base import Model
from atlas.models.chat import ChatModel
from atlas.models.http import HttpPool
from atlas.models.providers import plain_model
from atlas.models.replay import ReplayModel
from atlas.models.scripted import ScriptedModel


def open_model(config: LLMConfig, http: HttpPool, *, base: Path) -> Model:
    """The model that a configuration names; `base` is the folder from which files are named.

    Raises:
        ConfigError: unknown provider, missing key, or a file that cannot be read.
    """
    match config.provider:
        case "local":
            from atlas.models.local import open_local

            return open_local(config, base)
        case "scripted":
            return ScriptedModel.from_file(base / plain_model(config))
        case "replay":
            return ReplayModel.from_file(base / plain_model(config))
        case _:
            return ChatModel(config, http)
