"""The strict shapes in which student and teacher answer when structure is asked for."""

from __future__ import annotations

from typing import Any

PLAN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "minItems": 1,
            "maxItems": 12,
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer", "minimum": 1},
                    "description": {"type": "string", "minLength": 1},
                    "depends_on": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["id", "description", "depends_on"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["steps"],
    "additionalProperties": False,
}
"""A plan: steps with their dependencies."""

REVIEW: dict[str, Any] = {
    "type": "object",
    "properties": {"accepted": {"type": "boolean"}, "guidance": {"type": ["string", "null"]}},
    "required": ["accepted", "guidance"],
    "additionalProperties": False,
}
"""A review: accepted, or guidance."""
