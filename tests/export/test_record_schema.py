"""The published schema is the one the code has, and every line keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
from export_kit import exported

from atlas.export.schema import record_schema
from atlas.schema import Session

PUBLISHED = Path(__file__).parents[2] / "docs" / "record.schema.json"


def test_the_published_schema_is_ours() -> None:
    """`atlas export --schema > docs/record.schema.json` writes it anew."""
    assert json.loads(PUBLISHED.read_text("utf-8")) == record_schema()


def test_every_field_is_described() -> None:
    schema = record_schema()
    parts = {"SessionRecord": schema, **schema["$defs"]}
    silent = [
        f"{name}.{field}"
        for name, part in parts.items()
        for field, about in part.get("properties", {}).items()
        if "description" not in about and name.startswith(("Recorded", "Session", "Adaptive", "Playbook"))
    ]
    assert silent == []


async def test_every_line_keeps_the_schema(filled: tuple[str, dict[str, Session]], tmp_path: Path) -> None:
    validator = jsonschema_rs.validator_for(json.loads(PUBLISHED.read_text("utf-8")))
    await exported(filled[0], tmp_path / "a.jsonl")
    await exported(filled[0], tmp_path / "b.jsonl", event_limit=2)
    for name in ("a.jsonl", "b.jsonl"):
        for line in (tmp_path / name).read_text("utf-8").splitlines():
            validator.validate(json.loads(line))
