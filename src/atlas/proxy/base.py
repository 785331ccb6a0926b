"""What the proxy goes by, the socket of a protocol it understands, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from atlas.config.proxy import LanePolicy
from atlas.schema import Completion, Message, Noun, Recalled, Request

Body = dict[str, Any]
"""A request's body as its client wrote it (a payload)."""


class Unreadable(ValueError):
    """A request that does not follow its protocol: it is passed on all the same, and not recorded."""


class ProxyRules(Noun):
    """How calls become sessions."""

    tenant: str = "default"
    """Owner of every session; a client cannot choose it."""
    learning_key: str = "default"
    """Key of the sessions whose client names none."""
    teacher: str = ""
    """The model that verifies answers; empty where none does."""
    lanes: LanePolicy = "auto"
    """Who may stand between the upstream and the client."""
    buffer_streams: bool = False
    """Whether a streamed answer may be held back until it is verified."""
    answered_s: float = 20.0
    """Seconds without a further call after which an answered session is over."""
    silent_s: float = 900.0
    """The same while the agent works with its tools."""
    most_open: int = 10_000
    """Sessions that may wait for a further call; beyond it the one that has waited longest is over."""


class Counts(Noun):
    """What became of every call since the start. recorded + unrecorded == calls, once none is under way."""

    calls: int = 0
    """Model calls that were passed on."""
    recorded: int = 0
    """Of those, the ones that are in the store or its spool."""
    unrecorded: int = 0
    """Of those, the ones that nobody could read or that no store took; the caller had the answer all the same."""
    refused: int = 0
    """Model calls that were not passed on because a budget is spent."""
    sessions: int = 0
    """Sessions that were begun."""
    open_sessions: int = 0
    """Sessions that wait for a further call."""
    store: str = "up"
    """`up`, or why nothing is recorded at the moment."""


class Dialect(Protocol):
    """One protocol in which agents call models. Pure: bodies in, nouns out, and back."""

    ends: tuple[bytes, ...]
    """One of these stands in the piece that ends a stream."""

    def request(self, body: Body) -> Request:
        """The request as a noun.

        Raises:
            Unreadable: it does not follow the protocol.
        """
        ...

    def completion(self, raw: bytes, request: Request, *, streamed: bool) -> Completion:
        """A whole reply, or all the pieces of a streamed one, as a noun.

        Raises:
            ModelError: it does not follow the protocol, or it is an error in a reply's clothes.
        """
        ...

    def reply_id(self, raw: bytes) -> str | None:
        """The name by which a later request may refer to this reply."""
        ...

    def labels(self, body: Body) -> tuple[str, ...]:
        """Names of earlier replies or conversations that this request refers to."""
        ...

    def with_playbook(self, body: Body, recalled: Recalled) -> Body:
        """The body with the playbook behind its own role text: the bytes in front stay as they are."""
        ...

    def with_more(self, body: Body, more: Sequence[Message]) -> Body:
        """The body with further turns at the end of its conversation."""
        ...

    def refusal(self, status: int, kind: str, message: str) -> Body:
        """An error of the proxy's own, in the protocol's shape."""
        ...
