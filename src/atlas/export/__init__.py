"""What leaves: records of sessions as JSONL, Parquet and training rows; and what comes back in."""

from atlas.export.assemble import record_of
from atlas.export.exporting import Exported, FormatName, Order, export
from atlas.export.record import ReviewStatus, SessionRecord
from atlas.export.selection import Selection, reviews_allowed
from atlas.export.source import Reader, StoredSession, open_reader

__all__ = [
    "Exported",
    "FormatName",
    "Order",
    "Reader",
    "ReviewStatus",
    "Selection",
    "SessionRecord",
    "StoredSession",
    "export",
    "open_reader",
    "record_of",
    "reviews_allowed",
]
