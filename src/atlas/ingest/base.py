"""What a receiver of traces goes by, and what it tells of itself."""

from __future__ import annotations

from atlas.schema import Noun


class IngestRules(Noun):
    """How traces become sessions."""

    tenant: str = "default"
    """Owner of the sessions; a trace cannot choose it."""
    learning_key: str | None = None
    """Key of every session; None takes a trace's own, its agent's name, or its service's."""
    capture_content: bool = True
    """Whether what was said is kept; without it a session has its calls, their models, times and tokens."""
    whole_s: float = 1.0
    """Seconds that a whole trace waits for spans that nobody has named."""
    gap_s: float = 6.0
    """Seconds without news after which a trace with its root, but with missing parents, is taken as it is. Longer than
    the five seconds for which an exporter collects a batch."""
    quiet_s: float = 30.0
    """Seconds without news after which a trace without its root is taken as it is."""
    most_waiting_bytes: int = 256_000_000
    """Size of the spans that wait for the rest of their trace; beyond it senders are told to come back."""
    most_spans: int = 50_000
    """Spans of one trace."""


class Taken(Noun):
    """What became of every span that arrived. accepted == stored + refused + waiting, always."""

    accepted: int = 0
    """Spans that came in requests that were read; a span that comes twice counts twice."""
    stored: int = 0
    """Spans whose session is in the store."""
    refused: int = 0
    """Spans that cannot be stored: broken, too late, or of a trace without an agent."""
    waiting: int = 0
    """Spans that wait for the rest of their trace."""
    sessions: int = 0
    """Sessions that were written."""


class Reply(Noun):
    """What the sender of a request is told."""

    refused: int = 0
    """Spans of this request that will not be stored."""
    reason: str = ""
    """Why not."""


class Busy(Exception):
    """Too much waits, or it cannot be written down; the sender may try again."""
