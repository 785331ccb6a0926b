"""One call of a model on its way through the proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from atlas.models.caller import Place, request_hash
from atlas.models.http import MAX_REPLY_BYTES
from atlas.models.refusals import complaint
from atlas.models.text import one_line
from atlas.models.wire import dump
from atlas.proxy.base import Body, Dialect
from atlas.proxy.budget import Reservation
from atlas.proxy.content import scrubbed, text
from atlas.proxy.grouping import Labels
from atlas.schema import Completion, Failure, Message, Recalled, Request, Usage
from atlas.schema.errors import ModelError
from atlas.schema.events import ModelCalled, ModelFailed

MOST_READ = MAX_REPLY_BYTES
"""A larger body is passed on and not recorded: reading it would hold up every other call."""
MASK = b"[redacted:client-key]"
RETRYABLE = (408, 409, 425, 429)
SESSION, KEY = "X-Atlas-Session", "X-Atlas-Learning-Key"
Price = Callable[[Usage], float | None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upstream sent back, whole."""

    status: int
    """The HTTP status."""
    raw: bytes
    """The body."""
    streamed: bool
    """Whether it is an event stream."""


@dataclass(slots=True)
class Call:
    """A request that was read."""

    dialect: Dialect
    """The protocol it is written in."""
    body: Body
    """What the client sent."""
    raw: bytes
    """The same, byte for byte; what goes on, unless something is added."""
    request: Request
    """What goes on, as a noun, free of the client's keys."""
    model: str
    """`provider:name`."""
    labels: Labels
    """Where it belongs, as its client says."""
    learning_key: str | None
    """Which sessions learn from it, as its client says."""
    secrets: tuple[bytes, ...]
    """Keys that must not be recorded."""
    price: Price
    """What its tokens cost."""
    heard: tuple[Message, ...] = ()
    """The conversation as the client knows it, without a playbook."""
    reserved: Reservation | None = None
    """What it may cost at most."""
    began: float = field(default_factory=time.perf_counter)
    """When it came in, by `time.perf_counter()`."""

    @property
    def streams(self) -> bool:
        """Whether the client wants the reply piece by piece."""
        return self.body.get("stream") is True

    def goes_on_from(self, heard: tuple[Message, ...]) -> None:
        """Hold the messages that an earlier call of the session holds too only once, and quick to compare."""
        length = len(heard)
        if length and self.request.messages[:length] == heard:
            messages = (*heard, *self.request.messages[length:])
            self.request = self.request.model_copy(update={"messages": messages})

    def teach(self, recalled: Recalled) -> None:
        """Put the playbook into what goes on."""
        if recalled.shown:
            self._send(self.dialect.with_playbook(self.body, recalled))

    def with_more(self, more: Sequence[Message]) -> Call:
        """The same call with further turns at the end of its conversation."""
        other = Call(
            dialect=self.dialect,
            body=json.loads(self.raw),
            raw=self.raw,
            request=self.request,
            model=self.model,
            labels=self.labels,
            learning_key=self.learning_key,
            secrets=self.secrets,
            price=self.price,
            heard=self.heard,
        )
        other._send(self.dialect.with_more(other.body, more))
        return other

    def completion(self, reply: Reply) -> Completion:
        """The reply as a noun, with what it cost.

        Raises:
            ModelError: it is none.
        """
        found = self.dialect.completion(self._clean(reply.raw), self.request, streamed=reply.streamed)
        usage = found.usage.model_copy(update={"cost_usd": self.price(found.usage)})
        return found.model_copy(update={"usage": usage})

    def called(self, place: Place, completion: Completion) -> ModelCalled:
        """The call with its reply, for the record."""
        return ModelCalled(
            actor=place.actor,
            purpose=place.purpose,
            step=place.step,
            attempt=place.attempt,
            model=self.model,
            request_hash=request_hash(self.model, self.request),
            request=self.request,
            completion=completion,
            latency_s=time.perf_counter() - self.began,
        )

    def failed(self, place: Place, failure: Failure) -> ModelFailed:
        """The call without a reply, for the record."""
        return ModelFailed(
            **place.model_dump(),
            model=self.model,
            request_hash=request_hash(self.model, self.request),
            failure=failure,
            latency_s=time.perf_counter() - self.began,
        )

    def failure(self, host: str, reply: Reply) -> Failure:
        """What an error status means."""
        said = one_line(complaint(self._clean(reply.raw)))
        kind = "ModelUnavailable" if reply.status >= 500 or reply.status in RETRYABLE else "ModelRefused"
        return Failure(boundary=ModelError.boundary, kind=kind, message=f"{host} answered {reply.status}: {said}")

    def _send(self, body: Body) -> None:
        self.raw = dump(body)
        self.request = self.dialect.request(body if not self.secrets else json.loads(self._clean(self.raw)))

    def _clean(self, raw: bytes) -> bytes:
        return without(raw, self.secrets)


def without(raw: bytes, secrets: Sequence[bytes]) -> bytes:
    """The bytes without the secrets."""
    for secret in secrets:
        if secret in raw:
            raw = raw.replace(secret, MASK)
    return raw


def labels_of(dialect: Dialect, body: Body, headers: Mapping[str, str]) -> Labels:
    """Where a call belongs, as its headers and its body say."""
    others = [f"reply {name}" for name in dialect.labels(body)]
    trace = headers.get("traceparent", "").split("-")
    if len(trace) >= 4 and len(trace[1]) == 32 and set(trace[1]) - {"0"}:
        others.append(f"trace {trace[1]}")
    return Labels(session=headers.get(SESSION) or None, others=tuple(others))


def read(raw: bytes) -> Body:
    """A request's body.

    Raises:
        ValueError: it is no JSON object, or too large to be looked at.
    """
    if len(raw) > MOST_READ:
        raise ValueError(f"it has {len(raw)} bytes")
    found: Any = json.loads(raw)
    if b"\\ud" in raw.lower():  # a surrogate, and maybe without its other half
        found = scrubbed(found)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return cast("Body", found)


def model_of(provider: str, body: Body) -> str:
    """The model's name for the record."""
    return f"{provider}:{text(body.get('model'))[:200] or 'unnamed'}"
