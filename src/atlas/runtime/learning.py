"""From a configuration to memory."""

from __future__ import annotations

from atlas.config import AtlasConfig
from atlas.memory import Memory
from atlas.memory.none import NoMemory
from atlas.runtime.seats import Models


def memory_of(config: AtlasConfig, models: Models) -> Memory:
    """Memory as configured."""
    return NoMemory()
