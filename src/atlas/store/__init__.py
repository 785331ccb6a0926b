"""The append-only events, their projections, and the playbooks."""

from atlas.store.base import Flushed, LedgerRow, ReviewStatus, SessionRow, Store
from atlas.store.boundary import Safety, safety_of
from atlas.store.memory import MemoryStore
from atlas.store.open import open_store

__all__ = [
    "Flushed",
    "LedgerRow",
    "MemoryStore",
    "ReviewStatus",
    "Safety",
    "SessionRow",
    "Store",
    "open_store",
    "safety_of",
]
