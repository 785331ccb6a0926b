"""One Python file, read by its syntax tree: nothing is imported and nothing runs."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from atlas.discovery.known import CALLS, GRAPHS, LIBRARIES, MAKERS, TOOL_MARKS

Function = ast.FunctionDef | ast.AsyncFunctionDef

_MODEL = re.compile(
    r"(?:[a-z_]+[:/])?(?:gpt-|o[1-9](?:-|$)|chatgpt-|claude-|gemini-|gemma|llama-?[0-9]|mistral|mixtral|qwen|deepseek|grok-)"
    r"[\w.:/-]*",
    re.I,
)
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)[A-Z0-9_]*")
_PROMPT_WORDS = ("prompt", "instruction", "system_message", "backstory")


@dataclass
class Module:
    """What one file says."""

    tree: ast.Module
    """Its syntax tree."""
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Imported names, and where they come from, dotted."""
    made: dict[str, str] = field(default_factory=dict[str, str])
    """Names anywhere in it that hold an agent of a library."""
    makers: dict[str, str] = field(default_factory=dict[str, str])
    """Functions at the top that return an agent of a library."""
    graphs: set[str] = field(default_factory=set[str])
    """Names that hold a graph which is not compiled yet."""

    def origin(self, node: ast.expr) -> str:
        """The dotted name that an expression stands for, imports resolved; empty where it is no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute | ast.Subscript):  # Agent[Deps] is Agent
            if isinstance(node, ast.Attribute):
                parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join((self.names.get(node.id, node.id), *reversed(parts)))

    def library(self, node: ast.expr | None) -> str | None:
        """The library whose agent an expression makes; None where it makes none."""
        while isinstance(node, ast.Await):
            node = node.value
        if not isinstance(node, ast.Call):
            return None
        made = MAKERS.get(self.origin(node.func))
        if made is not None:
            return made
        if isinstance(node.func, ast.Attribute):
            inner = node.func.value
            if node.func.attr == "compile" and self._is_graph(inner):
                return "langgraph"
            if node.func.attr in ("with_config", "bind", "with_retry"):
                return self.library(inner) or self.held(inner)
        return None

    def held(self, node: ast.expr | None) -> str | None:
        """The library of the agent that a name holds, or that an expression makes."""
        return self.made.get(node.id) if isinstance(node, ast.Name) else self.library(node)

    def _is_graph(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if self.origin(node.func) in GRAPHS:
                return True
            node = node.func.value
        if isinstance(node, ast.Call):
            return self.origin(node.func) in GRAPHS
        return isinstance(node, ast.Name) and node.id in self.graphs

    def learn(self, node: ast.Assign | ast.AnnAssign) -> None:
        """Note what an assignment's name holds."""
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if node.value is not None and self._is_graph(node.value) and self.library(node.value) is None:
            self.graphs.update(names)
        library = self.library(node.value)
        if library:
            self.made.update(dict.fromkeys(names, library))


def read(source: bytes) -> Module:
    """The module of a file's text.

    Raises:
        ValueError: it is no Python of this version, or nested too deeply to be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a literal's bad escape is the author's business
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"no Python ({type(error).__name__})") from None
    module = Module(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            module.names.update(_imported(node))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            module.names.update({each.asname or each.name: f"{node.module}.{each.name}" for each in node.names})
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            module.learn(node)
    return module


def libraries(module: Module, own: frozenset[str]) -> set[str]:
    """The known libraries that it imports; `own` are the project's own top modules, which hide them."""
    found: set[str] = set()
    for origin in module.names.values():
        parts = origin.split(".")
        if parts[0] not in own:
            found.update(name for name in (parts[0], ".".join(parts[:2])) if name in LIBRARIES)
    return found


def calls_a_model(module: Module, node: ast.AST) -> bool:
    """Whether a call to a model, or the use of a library's agent, stands in it."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            name = module.origin(each.func) or _tail(each.func)
            if any(name == end or name.endswith("." + end) for end in CALLS) or module.library(each):
                return True
            if isinstance(each.func, ast.Attribute) and module.held(each.func.value):
                return True
            if any(isinstance(argument, ast.Name) and argument.id in module.made for argument in each.args):
                return True
    return False


def models(module: Module) -> Iterator[str]:
    """Names of models among its texts."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODEL.fullmatch(node.value):
            yield node.value


def keys(module: Module) -> Iterator[str]:
    """Environment variables with keys that it reads."""
    for node in ast.walk(module.tree):
        named: ast.expr | None = None
        if isinstance(node, ast.Subscript) and module.origin(node.value) == "os.environ":
            named = node.slice
        elif isinstance(node, ast.Call) and module.origin(node.func) in ("os.getenv", "os.environ.get"):
            named = node.args[0] if node.args else None
        if isinstance(named, ast.Constant) and isinstance(named.value, str) and _KEY.fullmatch(named.value):
            yield named.value


def prompts(module: Module) -> Iterator[tuple[int, str]]:
    """Line and name of texts that are given to a model as its role."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if _is_text(node.value):
                yield from ((node.lineno, name) for name in names if _is_prompt(name))
        elif isinstance(node, ast.keyword) and node.arg and _is_prompt(node.arg) and _is_text(node.value):
            yield node.value.lineno, node.arg


def tools(module: Module) -> Iterator[tuple[int, str]]:
    """Line and name of functions that are marked as tools."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function) and any(mark_of(module, each) in TOOL_MARKS for each in node.decorator_list):
            yield node.lineno, node.name


def mark_of(module: Module, decorator: ast.expr) -> str:
    """The last part of a decorator's name."""
    return decorator_name(module, decorator).rpartition(".")[2]


def decorator_name(module: Module, decorator: ast.expr) -> str:
    """A decorator's dotted name, without its arguments."""
    return module.origin(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _imported(node: ast.Import) -> dict[str, str]:
    return {
        each.asname or each.name.split(".")[0]: each.name if each.asname else each.name.split(".")[0]
        for each in node.names
    }


def _tail(node: ast.expr) -> str:
    """The attributes at the end of an expression that begins with no name, as in `OpenAI().chat.completions.create`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed(parts))


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 20
    )


def _is_prompt(name: str) -> bool:
    return any(word in name.lower() for word in _PROMPT_WORDS)
