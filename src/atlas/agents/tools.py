"""Tools: plain Python callables that a model may call."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NotRequired, Protocol, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import to_json
from typing_extensions import TypedDict

from atlas.agents.loading import load_object
from atlas.agents.threads import in_thread, on_loop
from atlas.config.agent import ToolConfig
from atlas.models import check_schema, parse_object, violation
from atlas.models.text import one_line
from atlas.schema import Effect, Noun, ToolCall, ToolSpec
from atlas.schema.errors import ConfigError, ToolError

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__atlas_tool__"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
_ARGUMENT_LINE = re.compile(r"^\s+\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.+)$")


class _Declared(Noun):
    """What the decorator says about a callable."""

    name: str | None = None
    description: str | None = None
    effect: Effect = "external"


def tool(*, name: str | None = None, description: str | None = None, effect: Effect = "external") -> Callable[[F], F]:
    """Mark a callable as a tool; it stays what it is.

    `effect` says what calling it twice would do: `none`, `idempotent` (the same again), or `external` (something in
    the world happens again).
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, _Declared(name=name, description=description, effect=effect))
        return function

    return mark


class AnyTool(Protocol):
    """What a model may call: a Python callable, or a tool of an MCP server."""

    spec: ToolSpec
    """As the model sees it."""

    async def run(self, call: ToolCall) -> str:
        """What it returns.

        Raises:
            ToolError: it failed; one line, for the model to read.
        """
        ...


class Tool:
    """A callable with the description that a model sees: from its type hints, its docstring and `tool(...)`."""

    def __init__(self, function: Callable[..., Any], *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """A sync callable runs in a thread of its own; an async one on `loop`, its maker's event loop, if one is given.

        Raises:
            ConfigError: its parameters cannot be described as JSON.
        """
        declared: _Declared = getattr(function, _MARK, _Declared())
        name = declared.name or _NOT_IN_A_NAME.sub("_", getattr(function, "__name__", type(function).__name__))[:64]
        documentation = inspect.getdoc(function) or ""
        self._function = function
        self._loop = loop
        self._own_schema = False
        self._arguments = _arguments_type(function, name, documentation)
        self.spec = ToolSpec(
            name=name,
            description=declared.description or one_line(documentation.split("\n\n")[0], 1000),
            parameters=_without_titles(self._arguments.json_schema()),
            effect=declared.effect,
        )

    @classmethod
    def load(
        cls, source: str | ToolConfig, *, root: Path | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> Tool:
        """The tool at an import path `pkg.module:name`; what a configuration says beside the path wins.

        Raises:
            ConfigError: there is none, or it is not callable.
        """
        path = source if isinstance(source, str) else source.import_path
        found = load_object(path, root=root)
        if not callable(found):
            raise ConfigError(f"The tool {path!a} is not callable.", "Name a function.")
        loaded = cls(found, loop=loop)
        if not isinstance(source, str):
            loaded._configure(source)
        return loaded

    def _configure(self, config: ToolConfig) -> None:
        """Let what the configuration says win; a schema of the user's own then checks the arguments."""
        changes = config.model_dump(exclude={"import_path"}, exclude_unset=True, exclude_none=True)
        self._own_schema = "parameters" in changes
        if self._own_schema:
            check_schema(changes["parameters"])
        self.spec = self.spec.model_copy(update=changes)

    async def run(self, call: ToolCall) -> str:
        """What the tool returns: a string as it is, anything else as JSON.

        Raises:
            ToolError: the arguments do not fit, it raised, or its result is no JSON. One line, for the model to read.
        """
        arguments = self._checked(call)
        function = self._function
        try:
            if inspect.iscoroutinefunction(function):
                result = await on_loop(function(**arguments), self._loop)
            else:
                result = await in_thread(lambda: function(**arguments))
                if inspect.isawaitable(result):
                    result = await on_loop(result, self._loop)
            return result if isinstance(result, str) else to_json(result).decode()
        except Exception as error:  # The boundary to the user's tool: what it raises is an answer to the model.
            raise ToolError(f"{self.spec.name} raised {type(error).__name__}: {one_line(error)}") from error

    def _checked(self, call: ToolCall) -> dict[str, Any]:
        """The arguments, with the types that the callable asks for."""
        text = call.arguments.strip() or "{}"
        try:
            found = parse_object(text)
            if not self._own_schema:
                return self._arguments.validate_json(text, strict=True)
            broken = violation(found, self.spec.parameters)
            if broken is not None:
                raise ValueError(broken)
            return found
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ToolError(f"The arguments of {self.spec.name} are wrong: {one_line(wrong)}") from None
        except ValueError as error:
            raise ToolError(f"The arguments of {self.spec.name} are wrong: {one_line(error)}") from None


def _arguments_type(function: Callable[..., Any], name: str, documentation: str) -> TypeAdapter[Any]:
    """The arguments as one typed mapping; a parameter with a default may be left out."""
    wrong = f"The tool {name!a} cannot be described to a model"
    try:
        signature = inspect.signature(function, eval_str=True)
        described = _argument_lines(documentation)
        fields: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise ConfigError(f"{wrong}: {parameter} has no name.", "Give every parameter a name.")
            hint = Any if parameter.annotation is parameter.empty else parameter.annotation
            described_hint = Annotated[hint, Field(description=described.get(parameter.name))]
            required = parameter.default is parameter.empty
            fields[parameter.name] = described_hint if required else NotRequired[described_hint]
        make_type: Any = TypedDict
        shape = with_config(ConfigDict(extra="forbid"))(make_type(name, fields))
        adapter = TypeAdapter[Any](shape)
        adapter.json_schema()
        return adapter
    except (
        PydanticSchemaGenerationError,
        PydanticUserError,
        NameError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(f"{wrong}: {one_line(error)}", "Use type hints that JSON can carry.") from None


def _argument_lines(documentation: str) -> dict[str, str]:
    """Descriptions of parameters, from the `Args:` block of a docstring."""
    _, _, block = documentation.partition("Args:\n")
    found = map(_ARGUMENT_LINE.match, block.split("\n\n")[0].splitlines())
    return {match[1]: match[2] for match in found if match}


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without the titles that only repeat names: tokens in every prompt."""
    return json.loads(json.dumps(schema), object_hook=_untitled)


def _untitled(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "title" or not isinstance(value, str)}
