"""What every noun of the house shares: frozen, closed, hashable by content."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


class Noun(BaseModel):
    """A frozen record with known fields; an unknown field is an error, never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def new_id() -> str:
    """A UUID version 7 (RFC 9562): sortable by its creation time in milliseconds."""
    millis = time.time_ns() // 1_000_000
    value = (millis << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def content_hash(*parts: str) -> str:
    """SHA-256 in hex over the parts, each prefixed by its length so that no two lists collide."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)
