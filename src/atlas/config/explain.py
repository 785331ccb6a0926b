"""What pydantic found wrong, in the words and at the lines of the user's file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from atlas.config.env import Path
from atlas.config.yaml_text import Document, Problem, Tree

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_LINE_CHARS = 300


def explain(error: ErrorDetails, document: Document, root: type[BaseModel]) -> Problem | None:
    """One line about one error, with the line of the file it is at; None when its cause is told already."""
    path = _path_in(document.value, error["loc"])
    if path in document.broken:
        return None
    line = document.line_of(path)
    where = dotted(path) or "the file"
    match error["type"]:
        case "extra_forbidden":
            return Problem(line, _unknown_key(path, error["loc"], root))
        case "missing":
            return Problem(line, f"missing key {str(error['loc'][-1])!r}{_inside(path)}")
        case "union_tag_not_found":
            return Problem(line, f"missing key 'type'{_inside(path)} ({_types(error['loc'], root)})")
        case "union_tag_invalid":
            line = document.line_of((*path, "type"))
            return Problem(line, f"{dotted((*path, 'type'))} must be one of {_choices(error)}, got {_tag(error)}")
        case "literal_error":
            return Problem(line, f"{where} must be {_choices(error)}, got {_shown(error['input'], quote=True)}")
        case kind if kind in _TYPES:
            return Problem(line, f"{where} must be {_TYPES[kind]}, got {_shown(error['input'])}")
        case _:
            said = (
                error["msg"]
                .removeprefix("Value error, ")
                .replace("Input should", "must")
                .replace("String should", "must")
            )
            text = f"{where}: {said}" if not said.startswith("must") else f"{where} {said}"
            return Problem(line, " ".join(text.split())[:_LINE_CHARS])


def dotted(path: Path) -> str:
    """`agent.tools[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _path_in(value: Tree, loc: tuple[str | int, ...]) -> Path:
    """The error's place in the file: parts that name a union's member are not in it."""
    path: list[str | int] = []
    for part in loc:
        match value, part:
            case dict(), str() if part in value:
                value = value[part]
            case list(), int() if part < len(value):
                value = value[part]
            case _:
                continue
        path.append(part)
    return tuple(path)


def _inside(path: Path) -> str:
    return f" in {dotted(path)}" if path else ""


def _unknown_key(path: Path, loc: tuple[str | int, ...], root: type[BaseModel]) -> str:
    key = str(loc[-1])
    known = sorted({name for model in _models_at(root, loc[:-1]) for name in _keys(model)})
    close = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"
    return f"unknown key {key[:100]!r}{_inside(path[:-1])}{hint}"


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name


def _models_at(root: type[BaseModel], loc: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The blocks that may stand at a place; a union's tag in the place picks one."""
    models = [root]
    for part in loc:
        inner = [
            child
            for model in models
            if isinstance(part, str) and part in model.model_fields
            for child in _models_in(model.model_fields[part].annotation)
        ]
        tagged = [model for model in models if part in _tags(model)]
        models = inner or tagged or models
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field else ()


def _types(loc: tuple[str | int, ...], root: type[BaseModel]) -> str:
    return ", ".join(str(tag) for model in _models_at(root, loc) for tag in _tags(model))


def _context(error: ErrorDetails) -> Mapping[str, Any]:
    return error.get("ctx", {})


_NOT_FROM_FILES = ("given",)
"""Kinds of agent that only Python code can name."""


def _choices(error: ErrorDetails) -> str:
    context = _context(error)
    offered = str(context.get("expected") or context.get("expected_tags") or "").replace("'", "")
    return ", ".join(choice for choice in offered.split(", ") if choice not in _NOT_FROM_FILES)


def _tag(error: ErrorDetails) -> str:
    return _shown(_context(error).get("tag"), quote=True)


def _shown(value: Any, *, quote: bool = False) -> str:
    """What was given. A text is quoted only where the choices are closed: elsewhere it may be a secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return repr(value[:40]) if quote else "text"
        case dict():
            return "a mapping"
        case _:
            return "a list"
