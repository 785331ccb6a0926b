"""Values of foreign JSON as texts, tables and numbers; whatever cannot be one is nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from atlas.models.text import scrub
from atlas.proxy.base import Body, Unreadable
from atlas.schema import ToolSpec


def table(value: Any) -> Body:
    """A table; else an empty one."""
    return cast("Body", value) if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list; else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text(value: Any) -> str:
    """A text as it is; nothing as the empty text; anything else as JSON."""
    if isinstance(value, str):
        return scrub(value)
    return "" if value is None else scrub(json.dumps(value, ensure_ascii=False))


def scrubbed(value: Any) -> Any:
    """The value with every text as UTF-8 can carry it."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [scrubbed(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {scrub(name): scrubbed(each) for name, each in cast("Body", value).items()}
    return value


def words(content: Any) -> str:
    """What a message's content says: a text, or its parts; a part that is no text leaves its kind in brackets."""
    if isinstance(content, str):
        return scrub(content)
    return "\n".join(filter(None, map(_part, listed(content))))


def _part(part: Any) -> str:
    found = table(part)
    kind = text(found.get("type")) or "text"
    if kind in ("text", "input_text", "output_text"):
        return text(found.get("text"))
    if kind == "refusal":
        return text(found.get("refusal"))
    return "" if kind in ("thinking", "redacted_thinking", "reasoning") else f"[{kind}]"


def number(value: Any) -> float | None:
    """A number; None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(value: Any) -> int | None:
    """A whole number from 0 on; None where it is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if is_count else None


def required(body: Mapping[str, Any], name: str) -> list[Any]:
    """The list of that name.

    Raises:
        Unreadable: there is none, or something else than tables is in it.
    """
    found = listed(body.get(name))
    if not found or any(not isinstance(each, dict) for each in found):
        raise Unreadable(f"{name} is no list of objects")
    return found


def spec(found: Body, schema: str) -> ToolSpec:
    """A tool; `schema` is what the protocol calls the schema of its arguments."""
    name = text(found.get("name")) or text(found.get("type")) or "tool"
    parameters = table(found.get(schema)) or {"type": "object", "properties": {}}
    return ToolSpec(name=name, description=text(found.get("description")), parameters=parameters)
