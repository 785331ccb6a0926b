"""Traces of agents that run elsewhere, received over OTLP and kept as sessions to learn from."""

from atlas.ingest.assembly import Ingest
from atlas.ingest.base import Busy, IngestRules, Reply, Taken
from atlas.ingest.server import Receiver
from atlas.ingest.spool import Spool

__all__ = ["Busy", "Ingest", "IngestRules", "Receiver", "Reply", "Spool", "Taken"]
