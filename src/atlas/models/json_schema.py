"""Values checked against JSON Schemas: draft 7, and of the later drafts what `keywords.json` does not refuse.

A schema becomes Python code that is run. So it comes from Atlas itself or from the user's configuration only, never
from a model, a tool's output or a recording. The values may come from anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib.resources import files
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from atlas.models.text import one_line
from atlas.schema.errors import ConfigError

if TYPE_CHECKING:
    from fastjsonschema import JsonSchemaValueException

_PATTERN_S = 0.25
"""Seconds after which one search for a pattern is given up."""

_Validate = Callable[[object], object]


def check_schema(schema: dict[str, Any]) -> None:
    """Whether this is a JSON Schema that can be checked in full.

    Raises:
        ConfigError: it is none, uses a keyword that cannot be checked, or refers to another document.
    """
    _compiled(schema)


def violation(value: object, schema: dict[str, Any]) -> str | None:
    """The first way in which the value breaks the JSON Schema, in one line; None when it keeps it.

    Raises:
        ConfigError: the schema itself cannot be used.
        ValueError: nobody can tell: the value is too deep or a number too large, or a pattern took too long.
    """
    from fastjsonschema import JsonSchemaValueException

    try:
        _compiled(schema)(value)
    except JsonSchemaValueException as error:
        return _line(error)
    except RecursionError:
        raise ValueError("it is nested too deeply to be checked") from None
    except ArithmeticError:
        raise ValueError("a number is too large to be checked") from None
    except TimeoutError:
        raise ValueError("the search for a pattern of the schema took too long") from None
    return None


def _compiled(schema: dict[str, Any]) -> _Validate:
    from fastjsonschema import JsonSchemaValueException

    try:
        return _validator(json.dumps(schema, allow_nan=False))
    except JsonSchemaValueException as error:
        raise ConfigError(f"This is no JSON Schema: {_line(error)}.", "Use the keywords of draft 7.") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"This is no JSON Schema: {one_line(error)}.", "Correct the schema.") from None


def _line(error: JsonSchemaValueException) -> str:
    """Where and what; the same text in every process, since it goes into prompts and those into a journal."""
    name = error.name or "data"
    what = error.message.removeprefix(name).strip()
    value, rule = error.value, error.rule_definition
    if error.rule == "required":
        what = f"lacks the required {', '.join(key for key in rule if key not in value)}"
    elif error.rule == "additionalProperties":
        # The library lists them in the order of a set. Keys that match a pattern are not told from the others here.
        known = error.definition.get("properties", {})
        what = f"has a key that is not allowed among {', '.join(key for key in value if key not in known)}"
    return one_line(f"{name.removeprefix('data').lstrip('.') or 'the object'}: {what}", 240)


@lru_cache(maxsize=256)
def _validator(schema: str) -> _Validate:
    """The compiled schema.

    Raises:
        ValueError: it cannot be compiled; JsonSchemaException is one.
    """
    found = json.loads(schema)
    _meaningful(found)
    return _compile(found)


def _compile(found: Any) -> _Validate:
    import fastjsonschema
    import regex

    try:
        made = fastjsonschema.compile(found, _Nowhere(), use_default=False, use_formats=False)
        patterns = cast("FunctionType", made).__globals__["REGEX_PATTERNS"]
        for key, pattern in patterns.items():
            # The values are not the user's, and a search by `re` cannot be ended.
            search = partial(regex.compile(pattern.pattern).search, timeout=_PATTERN_S)
            patterns[key] = SimpleNamespace(search=search)
    except (re.error, regex.error) as error:
        raise ValueError(f"a pattern is no regular expression: {error}") from None
    except (SyntaxError, MemoryError):  # Python's own limits on nested blocks.
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError) as error:
        raise ValueError(f"a $ref leads to no schema: {error}") from None
    return made


def _meaningful(found: Any) -> None:
    """What the library would pass over in silence: a mistyped keyword, one it does not know, a name used twice.

    Raises:
        ValueError: it would.
    """
    from fastjsonschema.ref_resolver import RefResolver

    keywords = _keywords()
    keywords(found)
    resolver = RefResolver.from_schema(found, _Nowhere(), store={})
    names = {resolver.get_scope_name(): resolver.get_uri()}
    for ref in _refs(found):
        with resolver.in_scope(ref):
            name, uri = resolver.get_scope_name(), resolver.get_uri()
        if names.setdefault(name, uri) != uri:
            raise ValueError(f"{ref} and another $ref differ only in case or punctuation")
        with resolver.resolving(ref) as target:
            keywords(target)


@lru_cache(maxsize=1)
def _keywords() -> _Validate:
    return _compile(json.loads(files("atlas.models").joinpath("keywords.json").read_text("utf-8")))


def _refs(node: Any) -> Iterator[str]:
    match node:
        case {"$ref": str(ref)}:
            yield ref
        case dict():
            for item in cast("dict[str, Any]", node).values():
                yield from _refs(item)
        case list():
            for item in cast("list[Any]", node):
                yield from _refs(item)
        case _:
            pass


class _Nowhere(dict[str, Callable[[str], NoReturn]]):
    """Has a handler for every scheme of a remote $ref, and each refuses: no schema is ever fetched."""

    def __contains__(self, scheme: object) -> bool:
        return True

    def __missing__(self, scheme: str) -> Callable[[str], NoReturn]:
        def refuse(uri: str) -> NoReturn:
            raise ValueError(f"$ref {uri} leads to another document, and none is fetched")

        return refuse
