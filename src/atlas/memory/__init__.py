"""What was learnt: recalled where it fits, changed only on evidence."""

from atlas.memory.base import Memory
from atlas.memory.curator import Curator, Lesson
from atlas.memory.gate import outcome, passed, reviewed
from atlas.memory.merge import entry_id, loses_too_much, lost, merged, next_version, rolled_back
from atlas.memory.playbooks import PlaybookMemory
from atlas.memory.recall import matches_task
from atlas.memory.rollback import withdrawn
from atlas.memory.rules import MemoryRules

__all__ = [
    "Curator",
    "Lesson",
    "Memory",
    "MemoryRules",
    "PlaybookMemory",
    "entry_id",
    "loses_too_much",
    "lost",
    "matches_task",
    "merged",
    "next_version",
    "outcome",
    "passed",
    "reviewed",
    "rolled_back",
    "withdrawn",
]
