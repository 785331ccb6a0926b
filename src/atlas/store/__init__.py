"""The append-only events, their projections, and the playbooks."""

from atlas.store.base import Flushed, SessionRow, Store

__all__ = ["Flushed", "SessionRow", "Store"]
