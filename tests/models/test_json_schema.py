"""JSON Schemas: every keyword is checked or refused, nothing is fetched, and every check ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.models import check_schema, violation
from atlas.schema.errors import ConfigError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that nobody should call; a caller gives up after a second."""
    socket.setdefaulttimeout(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server
    socket.setdefaulttimeout(None)


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https", "ftp", "made-up"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_remote_ref_is_refused_and_not_fetched(listener: socket.socket, scheme: str, inside: bool) -> None:
    ref: dict[str, Any] = {"$ref": f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/schema.json"}
    with pytest.raises(ConfigError, match="another document, and none is fetched"):
        check_schema({"anyOf": [{"type": "string"}, ref]} if inside else ref)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_a_ref_to_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"type": "string"}')
    for ref in (path.as_uri(), str(path), "other.json", "data:application/json,{}"):
        with pytest.raises(ConfigError, match="another document, and none is fetched"):
            check_schema({"properties": {"a": {"$ref": ref}}})


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, 1.0, -3, 10**300], [1.5, True, "1", None]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"type": "boolean"}, [True, False], [0, 1, "true"]),
        ({"enum": [1, None, "a"]}, [1, 1.0, None, "a"], [True, "A"]),
        ({"const": False}, [False], [0, None]),
        ({"properties": {"a": {}}, "additionalProperties": False}, [{}, {"a": 1}, 7], [{"b": 1}]),
        ({"additionalProperties": {"type": "string"}}, [{"b": "x"}], [{"b": 1}]),
        ({"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False}, [{"x1": None}], [{"y": None}]),
        ({"minLength": 2, "maxLength": 2}, ["né", "😀é", 7], ["é", "abc", ""]),
        ({"pattern": "^é$"}, ["é"], ["é\n", "e"]),
        ({"properties": {"größe": {"type": "string"}}, "required": ["größe"]}, [{"größe": "é"}], [{"größe": 1}, {}]),
        ({"properties": {'a"b\\{c}': {"type": "string"}}}, [{'a"b\\{c}': "x"}], [{'a"b\\{c}': 1}]),
        ({"uniqueItems": True}, [[1, True, "1"]], [[1, 1.0], [{"a": []}, {"a": []}]]),
        ({"items": [{"type": "null"}], "additionalItems": False}, [[], [None]], [[None, 1], [1]]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#"}}}}, [[[[]]], 1], []),
        ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, [2, 3], [6, 5]),
        ({"format": "date", "default": 3, "x-mine": [1]}, ["no date", {}], []),
    ],
)
def test_values_are_judged_as_json_schema_says(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    assert [violation(value, schema) for value in good] == [None] * len(good)
    for value in bad:
        assert "\n" not in (violation(value, schema) or "\n")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({}, "the object: lacks the required items, name"),
        ({"name": 3, "items": []}, "name: must be string"),
        ({"name": "a", "items": [{"n": 1}, {"n": "x"}]}, "items[1].n: must be integer"),
        ({"name": "a", "items": [], "z": 1, "y": 2}, "the object: has a key that is not allowed among z, y"),
    ],
)
def test_one_line_says_where_and_what(value: object, line: str) -> None:
    item = {"type": "object", "properties": {"n": {"type": "integer"}}}
    schema = {
        "properties": {"name": {"type": "string"}, "items": {"items": {"$ref": "#/definitions/item"}}},
        "definitions": {"item": item},
        "required": ["items", "name"],
        "additionalProperties": False,
    }
    assert violation(value, schema) == line


def test_the_line_is_the_same_in_every_process() -> None:
    keys = {f"key{number}": 1 for number in range(9)}
    program = "import json, sys; from atlas.models import violation; print(violation(*json.loads(sys.argv[1])))"
    said = set[str]()
    for schema in ({"additionalProperties": False}, {"required": ["b", "a"]}):
        for seed in ("1", "2"):
            command = [sys.executable, "-c", program, json.dumps([keys, schema])]
            done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
            said.add(done.stdout)
    assert len(said) == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": {}},
        {"required": "a"},
        {"minLength": "2"},
        {"multipleOf": 0},
        {"minimum": float("nan")},
        {"pattern": "("},
        {"const": {1, 2}},
        {"properties": {"a": {"items": {"type": "strin"}}}},
        {"additionalProperties": "no"},
        {"$ref": "#/title", "title": "no schema"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "objekt"}}},
        {"prefixItems": [{"type": "string"}]},
        {"unevaluatedProperties": False},
        {"dependentRequired": {"a": ["b"]}},
        {"properties": {"a": {"$ref": "#", "minimum": 1}}},  # Draft 7 passes over what stands beside a $ref.
        {"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/a"}}, "$defs": {"A": {}, "a": False}},
    ],
)
def test_what_would_not_be_checked_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no JSON Schema"):
        check_schema(schema)


def test_a_schema_that_is_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"items": deep, "type": "array"}
    with pytest.raises(ConfigError, match="no JSON Schema"):
        check_schema(deep)


@pytest.mark.parametrize("schema", [{"pattern": "(x+x+)+y"}, {"patternProperties": {"(x+x+)+y": {}}}])
def test_a_pattern_that_explodes_ends(schema: dict[str, Any]) -> None:
    value = "x" * 5000 if "pattern" in schema else {"x" * 5000: 1}
    started = time.perf_counter()
    with pytest.raises(ValueError, match="took too long"):
        violation(value, schema)
    assert time.perf_counter() - started < 1.5


def test_what_nobody_can_tell_is_said_to_be_so() -> None:
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        violation(deep, {"items": {"$ref": "#"}})
    with pytest.raises(ValueError, match="too large"):
        violation(10**400, {"multipleOf": 0.5})


def test_a_value_is_never_changed() -> None:
    value: dict[str, Any] = {"a": {}}
    assert violation(value, {"properties": {"a": {"properties": {"b": {"default": 1}}}, "c": {"default": 2}}}) is None
    assert value == {"a": {}}
