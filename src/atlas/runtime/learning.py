"""From a configuration to memory."""

from __future__ import annotations

from atlas.config import AtlasConfig
from atlas.memory import Curator, Memory, MemoryRules, PlaybookMemory
from atlas.memory.none import NoMemory
from atlas.runtime.seats import Models


def memory_of(config: AtlasConfig, models: Models) -> Memory:
    """Memory as configured; without a model for the curator what is known is still recalled and judged."""
    learning = config.learning
    if not learning.enabled:
        return NoMemory()
    model = models.seat("curator") if learning.update_enabled else None
    rules = MemoryRules(
        gate=learning.gate,
        updates=learning.update_enabled,
        max_shown=learning.max_entries_shown if learning.apply_to_prompts else 0,
        max_tokens=learning.max_entry_tokens,
        holdout_trial=learning.holdout_trial,
        holdout_active=learning.holdout_active,
    )
    return PlaybookMemory(rules, Curator(model, prompt=learning.prompts.synthesizer) if model else None)
