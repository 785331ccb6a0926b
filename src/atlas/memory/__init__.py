"""What was learnt: recalled where it fits, changed only on evidence."""

from atlas.memory.base import Memory

__all__ = ["Memory"]
