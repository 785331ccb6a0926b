"""Typed conditions on a task: compared as data, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from atlas.memory.text import folded, occurs
from atlas.schema import Predicate

_MISSING = object()


def holds(predicate: Predicate, folded_prompt: str, payload: Mapping[str, Any]) -> bool:
    """Whether every given part of the condition holds; one without any part never does."""
    if not (predicate.all_of or predicate.any_of or predicate.none_of or predicate.field):
        return False
    found = {words: occurs(folded(words), folded_prompt) for words in _words(predicate)}
    return (
        all(found[words] for words in predicate.all_of)
        and (not predicate.any_of or any(found[words] for words in predicate.any_of))
        and not any(found[words] for words in predicate.none_of)
        and (not predicate.field or _field_holds(predicate, payload))
    )


def _words(predicate: Predicate) -> tuple[str, ...]:
    return (*predicate.all_of, *predicate.any_of, *predicate.none_of)


def _field_holds(predicate: Predicate, payload: Mapping[str, Any]) -> bool:
    found = _at(payload, predicate.field)
    if found is _MISSING:
        return False
    wanted = predicate.value
    match predicate.op:
        case "exists":
            return True
        case "is":
            return (type(found) is type(wanted) and found == wanted) or _equal_numbers(found, wanted)
        case "is_not":
            return bool(found != wanted)
        case "contains":
            return _contains(found, wanted)
        case "at_least":
            return _is_number(found) and _is_number(wanted) and found >= wanted
        case "at_most":
            return _is_number(found) and _is_number(wanted) and found <= wanted


def _at(payload: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; a marker where there is none."""
    here: Any = payload
    for part in path.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return _MISSING
        here = cast("Mapping[str, Any]", here)[part]
    return here


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _equal_numbers(one: Any, other: Any) -> bool:
    return _is_number(one) and _is_number(other) and one == other


def _contains(found: Any, wanted: Any) -> bool:
    """A word in a text, or a member of a list."""
    if isinstance(found, str) and isinstance(wanted, str):
        return occurs(folded(wanted), folded(found))
    return isinstance(found, list | tuple) and wanted in found
