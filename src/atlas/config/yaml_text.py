"""YAML text to plain values, with the line of every value and every problem told, never raised half-way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from atlas.config.env import Path

MAX_DEPTH = 40
"""Levels of nesting; a configuration needs 6."""
MAX_NODES = 50_000
"""Values after all anchors are expanded; more is a YAML bomb."""
MAX_CHARS = 4_000_000
"""Characters of a file."""
MAX_DIGITS = 30
"""Digits of a number."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"
"""What a YAML file can say here."""

_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value"))
_NUMBER_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float"))


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong, at a line (1 is the first; 0 when no line is known)."""

    line: int
    text: str


@dataclass(slots=True)
class Document:
    """What a file says."""

    value: Tree = None
    """The whole file."""
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    """The line of every value's key, or of the value itself in a list."""
    problems: list[Problem] = field(default_factory=list[Problem])
    """What is wrong."""
    broken: set[Path] = field(default_factory=set[Path])
    """Places whose problem is told already; what follows from it is not told again."""

    def tell(self, line: int, text: str, path: Path | None = None) -> None:
        """Note a problem; a path says which value cannot be trusted because of it."""
        self.problems.append(Problem(line, text))
        if path is not None:
            self.broken.add(path)

    def line_of(self, path: Path) -> int:
        """The line of the value at a path, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def read_yaml(text: str) -> Document:
    """Read one YAML document; never raises for any text."""
    document = Document()
    try:
        _guard(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except _Refused as error:
        document.problems.append(error.problem)
        return document
    except yaml.YAMLError as error:
        document.problems.append(_yaml_problem(error, text))
        return document
    if node is not None:
        reader = _Reader(document)
        try:
            document.value = reader.value(node, ())
        except _Refused as error:
            document.problems.append(error.problem)
    return document


class _Refused(Exception):
    """The document as a whole is refused."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


def _guard(text: str) -> None:
    """Refuse what the parser must not see: it recurses natively, so depth has to be known before."""
    if len(text) > MAX_CHARS:
        raise _Refused(Problem(0, f"the file has more than {MAX_CHARS} characters"))
    depth = 0
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise _Refused(Problem(line, f"nested deeper than {MAX_DEPTH} levels"))


def _yaml_problem(error: yaml.YAMLError, text: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(0, "not YAML text: it contains characters that YAML does not allow")
    mark = error.problem_mark or error.context_mark
    lines = text.rstrip("\n").split("\n")
    line = min(mark.line + 1, len(lines)) if mark else 0
    around = lines[line - 1] if 0 < line <= len(lines) else ""
    if "\t" in around[: len(around) - len(around.lstrip())] or "\\t" in (error.problem or ""):
        return Problem(line, "a tab is used to indent; YAML wants spaces")
    return Problem(line, f"not YAML: {error.problem or error.context or 'it cannot be read'}")


class _Reader:
    """Turns nodes into values, counting what anchors make of them."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Tree:
        """The value of a node; its line is kept under the path."""
        line = node.start_mark.line + 1
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused(Problem(line, f"more than {MAX_NODES} values once anchors are expanded"))
        if len(path) > MAX_DEPTH:
            raise _Refused(Problem(line, f"nested deeper than {MAX_DEPTH} levels once anchors are expanded"))
        self._document.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            try:
                return scalar(str(node.value), node.tag)
            except ValueError as error:
                self._document.tell(line, str(error), path)
                return None
        self._document.tell(line, f"the tag {node.tag} is not allowed", path)
        return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Tree]:
        found: dict[str, Tree] = {}
        merged: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._document.tell(line, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged |= self._merge(value_node, path)
            elif key in found:
                self._document.tell(line, f"duplicate key {key!r}")
            else:
                self._document.lines[(*path, key)] = line
                found[key] = self.value(value_node, (*path, key))
        return merged | found

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Tree]:
        """What `<<` brings in: one mapping, or a list of them of which the first wins."""
        merged: dict[str, Tree] = {}
        for child in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            if isinstance(child, yaml.MappingNode):
                merged |= self._mapping(child, path)
            else:
                self._document.tell(child.start_mark.line + 1, "<< needs a mapping")
        return merged


def scalar(text: str, tag: str) -> Tree:
    """A plain value.

    Raises:
        ValueError: the text is none that its tag allows.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text contains NUL or half a surrogate pair")
    if tag in _PLAIN_TAGS or (":" in text and tag in _NUMBER_TAGS):
        return text  # YAML 1.1 reads 1:30 as the number 90; here it stays text
    match tag.removeprefix("tag:yaml.org,2002:"):
        case "null":
            return None
        case "bool":
            return text.lower() in ("true", "yes", "on")
        case "int":
            return _integer(text.replace("_", ""))
        case "float":
            return _float(text.replace("_", "").lower())
        case _:
            raise ValueError(f"the tag {tag} is not allowed")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("the number is too long")
    unsigned = digits.lstrip("+-")
    octal = len(unsigned) > 1 and unsigned.isdigit() and unsigned.startswith("0")
    try:
        return int(digits, 8 if octal else 0)
    except ValueError:
        raise ValueError(f"{digits!r} is no number") from None


def _float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text[:MAX_DIGITS]!r} is no finite number")
    return number
