"""What leaves: records of sessions as JSONL, Parquet and training rows; and what comes back in."""

from atlas.export.assemble import record_of
from atlas.export.exporting import Exported, FormatName, Order, export
from atlas.export.importing import Imported, Importer, open_importer
from atlas.export.reading import read_records, read_sessions
from atlas.export.record import SessionRecord
from atlas.export.selection import Selection, reviews_allowed
from atlas.export.source import Reader, StoredSession, open_reader
from atlas.export.turns import Played, Role, Turn, played

__all__ = [
    "Exported",
    "FormatName",
    "Imported",
    "Importer",
    "Order",
    "Played",
    "Reader",
    "Role",
    "Selection",
    "SessionRecord",
    "StoredSession",
    "Turn",
    "export",
    "open_importer",
    "open_reader",
    "played",
    "read_records",
    "read_sessions",
    "record_of",
    "reviews_allowed",
]
