"""Finding the agent in a project: a static scan first, then, with consent, a look in a child process."""

from atlas.discovery.configuring import config_text
from atlas.discovery.facts import Candidate, Role, Scan
from atlas.discovery.finding import choose, factories
from atlas.discovery.look import Look, Order
from atlas.discovery.record import (
    CONFIG,
    FACTORIES,
    FOLDER,
    RECORD,
    Chosen,
    Discovered,
    edited,
    freshness,
    read_record,
    unchosen,
    write,
)
from atlas.discovery.sandbox import look
from atlas.discovery.scan import hash_of, scan

__all__ = [
    "CONFIG",
    "FACTORIES",
    "FOLDER",
    "RECORD",
    "Candidate",
    "Chosen",
    "Discovered",
    "Look",
    "Order",
    "Role",
    "Scan",
    "choose",
    "config_text",
    "edited",
    "factories",
    "freshness",
    "hash_of",
    "look",
    "read_record",
    "scan",
    "unchosen",
    "write",
]
