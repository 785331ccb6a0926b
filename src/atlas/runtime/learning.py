"""From a configuration to memory."""

from __future__ import annotations

from pathlib import Path

from atlas.agents import Tool
from atlas.config import AtlasConfig, ModelAgentConfig
from atlas.memory import Curator, Memory, MemoryRules, PlaybookMemory
from atlas.memory.none import NoMemory
from atlas.runtime.seats import Models
from atlas.schema import Effect

_REACH: dict[Effect, int] = {"none": 0, "idempotent": 1, "external": 2}
"""How far a tool's effect reaches."""


def memory_of(config: AtlasConfig, models: Models, folder: Path) -> Memory:
    """Memory as configured; without a model for the curator what is known is still recalled and judged.

    Raises:
        ConfigError: a tool of the agent cannot be imported.
    """
    learning = config.learning
    if not learning.enabled:
        return NoMemory()
    model = models.seat("curator") if learning.update_enabled else None
    rules = MemoryRules(
        gate=learning.gate,
        promotion=learning.promotion,
        compares=learning.update_enabled and learning.compare.enabled and may_repeat(config, folder),
        rent_period=learning.rent.period,
        success_worth=learning.rent.success_worth_tokens,
        min_lift=learning.pruning.min_reward_delta,
        updates=learning.update_enabled,
        max_shown=learning.max_entries_shown if learning.apply_to_prompts else 0,
        max_tokens=learning.max_entry_tokens,
        holdout_trial=learning.holdout_trial,
        holdout_active=learning.holdout_active,
    )
    return PlaybookMemory(rules, Curator(model, prompt=learning.prompts.synthesizer) if model else None)


def may_repeat(config: AtlasConfig, folder: Path) -> bool:
    """Whether the agent may be asked a second time for nobody: no tool of it reaches further than is allowed.

    Raises:
        ConfigError: a tool of the agent cannot be imported.
    """
    allowed = _REACH[config.learning.compare.tools]
    agent = config.agent
    if not isinstance(agent, ModelAgentConfig) or agent.tool_servers:  # What a server's tools do only it knows.
        return allowed == _REACH["external"]
    return all(_REACH[Tool.load(tool, root=folder).spec.effect] <= allowed for tool in agent.tools)
