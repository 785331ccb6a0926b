"""What was learnt: recalled where it fits, changed only on evidence."""

from atlas.memory.base import Memory
from atlas.memory.curator import Curator, Lesson
from atlas.memory.gate import outcome, reviewed
from atlas.memory.merge import entry_id, merged, next_version, rolled_back
from atlas.memory.playbooks import PlaybookMemory
from atlas.memory.rules import MemoryRules

__all__ = [
    "Curator",
    "Lesson",
    "Memory",
    "MemoryRules",
    "PlaybookMemory",
    "entry_id",
    "merged",
    "next_version",
    "outcome",
    "reviewed",
    "rolled_back",
]
