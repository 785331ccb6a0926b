"""What in one file looks like an agent or an environment, and what speaks for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from atlas.discovery.facts import Candidate, Kind, Role
from atlas.discovery.known import AGENT_WORDS, ANSWERS, MARKS, PROMPT_NAMES, RUNS, TOOL_MARKS
from atlas.discovery.reading import Function, Module, calls_a_model, decorator_name

_MARKED, _OBJECT, _FACTORY, _CREW, _WORLD = 100, 80, 75, 74, 70
_CALLING, _CLASS, _NAMED, _SCRIPT = 50, 46, 35, 20


_MAIN = ("agent", "main_agent", "primary_agent", "root_agent")
"""Names of the one agent among several."""

_MAKES = ("build", "make", "create", "get_", "is_", "has_", "test_", "format", "parse", "load")
"""How a function's name begins that answers nothing."""


@dataclass(frozen=True)
class Found:
    """A candidate in the making."""

    kind: Kind
    """What it is."""
    node: ast.stmt
    """Where it is."""
    name: str
    """In its module."""
    score: int
    """So far."""
    why: tuple[str, ...]
    """So far."""
    role: Role = "agent"
    """Agent or environment."""
    method: str | None = None
    """Which method answers."""
    framework: str | None = None
    """Whose object it is."""
    needs: tuple[str, ...] = ()
    """Parameters without a default."""
    optional: bool = False
    """Whether there are some with one."""

    def at(self, file: str, bonus: int, more: tuple[str, ...]) -> Candidate:
        """The candidate, once its file has spoken."""
        return Candidate(
            role=self.role,
            kind=self.kind,
            file=file,
            line=self.node.lineno,
            name=self.name,
            method=self.method,
            framework=self.framework,
            needs=self.needs,
            optional=self.optional,
            score=max(1, self.score + bonus - (10 if self.name.startswith("_") else 0)),
            why=self.why + more,
        )


def candidates(module: Module) -> Iterator[Found]:
    """Everything at the top of the file that may be meant."""
    for node in module.tree.body:
        if isinstance(node, Function) and (made := _returned_library(module, node)):
            module.makers[node.name] = made
    used = _used(module)
    parts = _parts(module)
    for node in _top(module.tree):
        match node:
            case ast.Assign() | ast.AnnAssign():
                yield from _objects(module, node, used, parts)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from filter(None, (_marked(module, node) or _function(module, node, used),))
            case ast.ClassDef():
                yield from filter(None, (_marked(module, node) or _class(module, node),))
            case _:
                pass
    script = _script(module)
    if script is not None:
        yield script


def _top(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of the file, those inside a top-level `if` or `try` too; a `__main__` block is not importable."""
    waiting = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If() if not _is_main(node):
                waiting += [*reversed(node.orelse), *reversed(node.body)]
            case ast.Try():
                waiting += reversed(node.body)
            case _:
                yield node


def _objects(module: Module, node: ast.Assign | ast.AnnAssign, used: set[str], parts: set[str]) -> Iterator[Found]:
    library = module.library(node.value) or _made_here(module, node.value)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if library and isinstance(target, ast.Name):
            why, score = [f"an agent of {library}"], _OBJECT
            if target.id in parts:
                why, score = [*why, "a tool of another agent runs it"], score - 20
            if target.id in used and library != "langgraph":  # a graph that is invoked is often part of another
                why, score = [*why, "it is run in this file"], score + 8
            if target.id in _MAIN:
                score += 2
            if isinstance(node.value, ast.Call) and any(each.arg == "handoffs" for each in node.value.keywords):
                why, score = [*why, "it hands off to others"], score + 5
            yield Found("object", node, target.id, score, tuple(why), framework=library)


def _marked(module: Module, node: Function | ast.ClassDef) -> Found | None:
    """What carries our own mark."""
    names = [decorator_name(module, each) for each in node.decorator_list]
    role = next((MARKS[name] for name in names if name in MARKS), None)
    if role is None:
        return None
    why = (f"marked with @atlas.{role}",)
    world: Role = "environment"
    if isinstance(node, ast.ClassDef):
        needs, method = _class_needs(node), None
        if role == "agent":
            method = _answering(node)
        return Found(
            "class", node, node.name, _MARKED, why, role=world if role == world else "agent", method=method, needs=needs
        )
    wanted = _required(node)
    if role == world:
        return Found("factory", node, node.name, _MARKED, why, role=world, needs=tuple(wanted))
    kind: Kind = "function" if _parameters(node) else "factory"
    return Found(kind, node, node.name, _MARKED, why, needs=tuple(_beside_prompt(node)))


def _function(module: Module, node: Function, used: set[str]) -> Found | None:
    made = _returned_library(module, node)
    required = _required(node)
    if made and not required:
        bonus = 5 if node.name in used else 0
        return Found(
            "factory",
            node,
            node.name,
            _FACTORY + bonus,
            (f"makes an agent of {made}",),
            framework=made,
            optional=bool(_parameters(node) or node.args.kwonlyargs),
        )
    if made or node.decorator_list or not _parameters(node):  # a mark of another's: a tool, a route, a command
        return None
    first = _parameters(node)[0]
    takes_text = first.arg in PROMPT_NAMES or _annotated_text(first)
    named = any(word in node.name.lower() for word in AGENT_WORDS)
    extra = tuple(_beside_prompt(node))
    if not takes_text or node.name == "main" or node.name.startswith(_MAKES):
        return None
    if calls_a_model(module, node):
        why = ["takes a prompt and calls a model"]
        score = _CALLING + 6 * named + (8 if _returns_text(node) else 0) - 6 * len(extra)
        return Found("function", node, node.name, score, tuple(why + ["named like an agent"] * named), needs=extra)
    if named and not extra and (_returns_text(node) or first.arg in PROMPT_NAMES):
        return Found("function", node, node.name, _NAMED, ("named like an agent, takes a prompt",))
    return None


def _class(module: Module, node: ast.ClassDef) -> Found | None:
    methods = {each.name: each for each in node.body if isinstance(each, Function)}
    bases = [module.origin(base) for base in node.bases]
    if any(base.rpartition(".")[2] in ("Protocol", "ABC", "BaseModel", "TypedDict", "Enum") for base in bases):
        return None
    needs = _class_needs(node)
    if "reset" in methods and "step" in methods:
        gym = any(base in ("gym.Env", "gymnasium.Env") for base in bases)
        why = ("has reset and step", *(("a Gymnasium environment",) if gym else ()))
        score = _WORLD + 8 * gym - 4 * len(needs)
        return Found("class", node, node.name, score, why, role="environment", needs=needs)
    crew = next((name for name, each in methods.items() if _has_mark(module, each, "crew")), None)
    if crew is not None:
        return Found(
            "class", node, node.name, _CREW, ("a crew of crewai",), method=crew, framework="crewai", needs=needs
        )
    return _answering_class(module, node, methods, needs)


def _answering_class(
    module: Module, node: ast.ClassDef, methods: dict[str, Function], needs: tuple[str, ...]
) -> Found | None:
    named = any(word in node.name.lower() for word in AGENT_WORDS)
    calls = calls_a_model(module, node)
    answer = next((name for name in ("act", "__call__", *ANSWERS) if name in methods), None)
    if answer is None or not (named or calls):
        return None
    method = methods[answer]
    given = _parameters(method)[1:]
    if not given or len(_required(method)) > 2 or not (given[0].arg in PROMPT_NAMES or _annotated_text(given[0])):
        return None
    score = (_CLASS if calls else _NAMED) + 4 * named - 4 * len(needs) - 3 * (answer not in ("act", "__call__"))
    why = (f"its {answer} takes a prompt", *(("it calls a model",) if calls else ()))
    return Found("class", node, node.name, score, why, method=None if answer == "act" else answer, needs=needs)


def _script(module: Module) -> Found | None:
    """A program that reads its prompt by itself."""
    for node in module.tree.body:
        if _is_main(node) and calls_a_model(module, module.tree):
            reads = any(
                module.origin(each.func) in ("input", "sys.stdin.read", "sys.stdin.readline")
                for each in ast.walk(module.tree)
                if isinstance(each, ast.Call)
            )
            if reads:
                return Found("script", node, "", _SCRIPT, ("a program that reads its prompt and calls a model",))
    return None


def _used(module: Module) -> set[str]:
    """Names on which an agent's methods are called, or that a runner is given."""
    used: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNS:
            owner = node.func.value
            if isinstance(owner, ast.Call):
                owner = owner.func
            named = [owner, *node.args[:1]]
            used.update(each.id for each in named if isinstance(each, ast.Name))
    return used


def _parts(module: Module) -> set[str]:
    """Names that are run by a tool, so that another agent stands above them."""
    parts: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, Function) and any(_tail(module, each) in TOOL_MARKS for each in node.decorator_list):
            body = ast.Module(body=node.body, type_ignores=[])  # the decorator names the agent above
            parts.update(each.id for each in ast.walk(body) if isinstance(each, ast.Name))
    return parts


def _tail(module: Module, decorator: ast.expr) -> str:
    return decorator_name(module, decorator).rpartition(".")[2]


def _made_here(module: Module, node: ast.expr | None) -> str | None:
    """The library of an agent that a function of this file makes."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    return module.makers.get(node.func.id)


def _returned_library(module: Module, node: Function) -> str | None:
    """The library whose agent a function returns."""
    for each in ast.walk(node):
        if isinstance(each, ast.Return) and each.value is not None:
            found = module.held(each.value) if isinstance(each.value, ast.Name) else module.library(each.value)
            if found:
                return found
    return None


def _parameters(node: Function) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args]


def _required(node: Function) -> list[str]:
    """Parameters without a default, `self` included."""
    positional = _parameters(node)
    named = [each.arg for each in positional[: len(positional) - len(node.args.defaults)]]
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    return named + [each.arg for each, default in pairs if default is None]


def _beside_prompt(node: Function) -> list[str]:
    """What it needs beside a prompt and a context."""
    return [name for name in _required(node)[1:] if name not in ("ctx", "context")]


def _class_needs(node: ast.ClassDef) -> tuple[str, ...]:
    made = next((each for each in node.body if isinstance(each, Function) and each.name == "__init__"), None)
    return tuple(_required(made)[1:]) if made else ()


def _answering(node: ast.ClassDef) -> str | None:
    """Which method answers, where it is not `act`."""
    names = {each.name for each in node.body if isinstance(each, Function)}
    found = next((name for name in ("act", "__call__", *ANSWERS) if name in names), None)
    return None if found == "act" else found


def _has_mark(module: Module, node: Function, mark: str) -> bool:
    return any(decorator_name(module, each).rpartition(".")[2] == mark for each in node.decorator_list)


def _annotated_text(parameter: ast.arg) -> bool:
    return isinstance(parameter.annotation, ast.Name) and parameter.annotation.id == "str"


def _returns_text(node: Function) -> bool:
    return isinstance(node.returns, ast.Name) and node.returns.id == "str"


def _is_main(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
    )
