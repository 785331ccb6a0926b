"""A call under way between its client and its upstream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atlas.models.http import MAX_REPLY_BYTES
from atlas.proxy.calls import Call, Reply
from atlas.proxy.conversation import Conversation
from atlas.proxy.upstream import Upstream
from atlas.schema import Usage


@dataclass(slots=True)
class Flight:
    """What is known of it so far."""

    upstream: Upstream
    """Where it goes."""
    headers: Mapping[str, str]
    """What goes on with it."""
    path: str
    """Below the upstream's base, with its query."""
    raw: bytes
    """The client's body."""
    call: Call | None = None
    """What was read of it; None where it is no model's call, or nobody can read it."""
    conversation: Conversation | None = None
    """Its session; None where it is not recorded."""
    told: bool = False
    """Whether its end is known."""
    recorded: bool = False
    """Whether its end is on record."""
    usage: Usage | None = None
    """What it consumed; None while that is unknown."""
    reply_id: str | None = None
    """The name by which a later request may refer to the reply."""
    gathered: list[bytes] = field(default_factory=list[bytes])
    """Pieces that were collected before the first was handed on."""
    _pieces: list[bytes] = field(default_factory=list[bytes])
    _size: int = 0

    @property
    def sent(self) -> bytes:
        """The body as it goes on."""
        return self.raw if self.call is None else self.call.raw

    @property
    def session_id(self) -> str | None:
        """Its session's id."""
        return self.conversation.guest.trace.session_id if self.conversation else None

    def keep(self, piece: bytes) -> None:
        """Note a piece of the reply; of one that is too long nothing is kept."""
        self._size += len(piece)
        if self._size > MAX_REPLY_BYTES:
            self._pieces = []
        elif self.call is not None:
            self._pieces.append(piece)

    def reply(self, status: int, *, streamed: bool) -> Reply:
        """What came back so far."""
        return Reply(status=status, raw=b"".join(self._pieces), streamed=streamed)

    @property
    def is_too_long(self) -> bool:
        """Whether the reply is longer than what is looked at."""
        return self._size > MAX_REPLY_BYTES
