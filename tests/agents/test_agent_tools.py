"""Plain callables as tools, and objects by their import path."""

from __future__ import annotations

import asyncio
import datetime
import enum
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from agents_kit import multiply, undescribed
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from atlas.agents import Tool, load_object, tool
from atlas.config import ToolConfig
from atlas.models import violation
from atlas.schema import ToolCall
from atlas.schema.errors import ConfigError, ToolError


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id="1", name=name, arguments=arguments)


class Colour(enum.Enum):
    RED = "red"


class Point(BaseModel):
    x: int
    y: int = 0


def search(
    query: str,
    limit: int = 3,
    *,
    kind: Literal["web", "news"] = "web",
    title: list[str] | None = None,
    since: datetime.date | None = None,
    at: Point | None = None,
    colour: Colour = Colour.RED,
) -> str:
    """Search the web
    for pages.

    It is slow.

    Args:
        query: What to look for.
        limit (int): How many at most.

    Returns:
        query: not a parameter's line.
    """
    return f"{query} {limit} {kind} {title} {since!r} {at!r} {colour}"


def test_a_callable_describes_itself() -> None:
    spec = Tool(search).spec
    assert (spec.name, spec.description, spec.effect) == ("search", "Search the web for pages.", "external")
    properties = spec.parameters["properties"]
    assert properties["query"] == {"type": "string", "description": "What to look for."}
    assert properties["limit"] == {"type": "integer", "description": "How many at most."}
    assert properties["kind"] == {"type": "string", "enum": ["web", "news"]}
    assert "title" in properties
    assert spec.parameters["required"] == ["query"]
    assert spec.parameters["additionalProperties"] is False


def test_the_decorator_says_more_and_leaves_the_function_alone() -> None:
    spec = Tool(multiply).spec
    assert (spec.name, spec.description, spec.effect) == ("multiply", "Multiply.", "none")
    assert multiply(3, 4) == 12
    assert Tool(tool(name="times")(lambda a: a)).spec.name == "times"


async def test_arguments_arrive_with_their_types() -> None:
    text = '{"query": "x", "title": ["t"], "since": "2026-01-02", "at": {"x": 1}, "colour": "red"}'
    assert await Tool(search).run(call("search", text)) == (
        "x 3 web ['t'] datetime.date(2026, 1, 2) Point(x=1, y=0) Colour.RED"
    )


async def test_no_arguments_may_be_an_empty_text() -> None:
    assert await Tool(lambda: "ok").run(call("f", "")) == "ok"


@pytest.mark.parametrize(
    ("result", "text"),
    [("a", "a"), ({"a": [1, None]}, '{"a":[1,null]}'), (None, "null"), (Point(x=1), '{"x":1,"y":0}'), (True, "true")],
)
async def test_results_are_text_or_json(result: object, text: str) -> None:
    def sync() -> object:
        return result

    async def later() -> object:
        return result

    assert await Tool(sync).run(call("sync")) == text
    assert await Tool(later).run(call("later")) == text


async def test_sync_tools_run_beside_the_loop_and_async_ones_on_it() -> None:
    def sync() -> bool:
        return threading.current_thread() is threading.main_thread()

    async def later() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await Tool(sync).run(call("sync")) == "false"
    assert await Tool(later).run(call("later")) == "true"


def test_an_async_tool_runs_on_the_loop_it_belongs_to() -> None:
    async def users_program() -> str:
        mine = asyncio.get_running_loop()

        async def later() -> bool:
            return asyncio.get_running_loop() is mine

        return await asyncio.to_thread(lambda: asyncio.run(Tool(later, loop=mine).run(call("later"))))

    assert asyncio.run(users_program()) == "true"


@pytest.mark.parametrize("error", [ValueError("bad\nthing"), SystemExit(1), TimeoutError("slow")])
async def test_what_a_tool_raises_is_one_line_for_the_model(error: BaseException) -> None:
    def fail() -> str:
        raise error

    async def fail_later() -> str:
        raise error

    tools = [Tool(fail)] if isinstance(error, SystemExit) else [Tool(fail), Tool(fail_later)]
    for each in tools:
        with pytest.raises(ToolError, match="raised") as caught:
            await each.run(call("fail"))
        assert "\n" not in str(caught.value)


async def test_a_result_that_json_cannot_carry_is_the_tools_failure() -> None:
    with pytest.raises(ToolError, match="raised PydanticSerializationError"):
        await Tool(lambda: object()).run(call("f"))


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "x"]), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), any_json, max_size=3))
def test_arguments_are_taken_only_if_they_fit_the_schema(arguments: dict[str, Any]) -> None:
    import json

    used = Tool(multiply)
    try:
        used._checked(call("multiply", json.dumps(arguments)))
    except ToolError:
        return
    assert violation(arguments, used.spec.parameters) is None


def test_a_callable_that_cannot_be_described_is_refused() -> None:
    def star(*values: int) -> str:
        return ""

    def stars(**values: int) -> str:
        return ""

    def foreign(lock: threading.Event) -> str:
        return ""

    for function in (star, stars, foreign):
        with pytest.raises(ConfigError, match="cannot be described to a model"):
            Tool(function)


async def test_a_tool_by_its_import_path() -> None:
    loaded = Tool.load("agents_kit:multiply")
    assert loaded.spec.effect == "none"
    assert await loaded.run(call("multiply", '{"a": 2, "b": 4}')) == "8"


async def test_what_the_configuration_says_wins() -> None:
    own = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 3}}, "required": ["a"]}
    config = ToolConfig(import_path="agents_kit:undescribed", name="plus", effect="idempotent", parameters=own)
    loaded = Tool.load(config)
    assert (loaded.spec.name, loaded.spec.description, loaded.spec.effect) == ("plus", "Add one.", "idempotent")
    assert loaded.spec.parameters == own
    assert await loaded.run(call("plus", '{"a": 2}')) == "3"
    with pytest.raises(ToolError, match="smaller than or equal to 3"):
        await loaded.run(call("plus", '{"a": 4}'))
    assert Tool.load(ToolConfig(import_path="agents_kit:multiply")).spec.effect == "none"  # as it declares itself
    assert undescribed(1) == 2


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("agents_kit", "is no import path"),
        ("agents_kit:nothing", "has no 'nothing'"),
        ("no_such_package.mod:x", "no module 'no_such_package'"),
        ("agents_kit:not_callable", "not callable"),
    ],
)
def test_a_wrong_import_path_is_named(path: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Tool.load(path)


def test_a_module_is_found_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "users_own_module.py").write_text("class A:\n    x = 5\n")
    (tmp_path / "users_broken_module.py").write_text("raise ValueError('bad\\nday')\n")
    assert load_object("users_own_module:A.x", root=tmp_path) == 5
    with pytest.raises(ConfigError, match="cannot be imported: ValueError: bad day"):
        load_object("users_broken_module:A", root=tmp_path)
