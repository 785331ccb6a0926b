"""The published JSON Schema of a record."""

from __future__ import annotations

from typing import Any

from atlas.export.record import SessionRecord


def record_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one line of a JSONL export."""
    schema = SessionRecord.model_json_schema(mode="serialization")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Atlas session record"}
    return head | {name: part for name, part in schema.items() if name != "title"}
