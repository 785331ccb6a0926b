"""What leaves: records of sessions as JSONL, Parquet and training rows; and what comes back in."""

from atlas.export.assemble import record_of
from atlas.export.exporting import Exported, FormatName, Order, export
from atlas.export.importing import Imported, Importer, open_importer
from atlas.export.reading import read_records
from atlas.export.record import SessionRecord
from atlas.export.selection import Selection, reviews_allowed
from atlas.export.source import Reader, StoredSession, open_reader

__all__ = [
    "Exported",
    "FormatName",
    "Imported",
    "Importer",
    "Order",
    "Reader",
    "Selection",
    "SessionRecord",
    "StoredSession",
    "export",
    "open_importer",
    "open_reader",
    "read_records",
    "record_of",
    "reviews_allowed",
]
