"""The rules of the house, as tests."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import atlas

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "atlas"
BIN = Path(sys.executable).parent
FILES = sorted(SOURCE.rglob("*.py"))
CODE = [*FILES, *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]

FILE_LINES_P90, FILE_LINES_MAX = 350, 500
FUNCTION_LINES_P90, FUNCTION_LINES_MAX = 40, 70
PARAMETERS_MAX = 6
ISINSTANCE_PER_1000_LINES = 16
HEAVY = {"aiohttp", "asyncpg", "fastjsonschema", "genai_prices", "numpy", "regex", "rich", "torch"}
TORCH_ROOMS = {"train"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def place(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)


def modules_after(statement: str) -> set[str]:
    shown = run(sys.executable, "-c", f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))")
    assert shown.returncode == 0, shown.stderr
    return set(json.loads(shown.stdout.splitlines()[-1]))


def test_floors() -> None:
    shown = run(BIN / "lint-imports", "--no-cache")
    assert shown.returncode == 0, shown.stdout


def test_ruff() -> None:
    for command in (("format", "--check"), ("check",)):
        shown = run(BIN / "ruff", *command, ".")
        assert shown.returncode == 0, shown.stdout


@pytest.mark.slow
def test_types() -> None:
    shown = run(BIN / "pyright")
    assert shown.returncode == 0, shown.stdout


def test_files_are_small() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in CODE}
    too_long = [f"{place(path)} has {count} lines" for path, count in lines.items() if count > FILE_LINES_MAX]
    assert not too_long
    assert statistics.quantiles(lines.values(), n=10)[-1] <= FILE_LINES_P90


def test_functions_are_small() -> None:
    lengths = [(length(node), place(path, node.lineno), node.name) for path in CODE for node in functions(path)]
    assert not [found for found in lengths if found[0] > FUNCTION_LINES_MAX]
    assert statistics.quantiles([found[0] for found in lengths], n=10)[-1] <= FUNCTION_LINES_P90


def test_functions_take_few_parameters() -> None:
    many = []
    for path in FILES:
        for node in functions(path):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > PARAMETERS_MAX:
                many.append(f"{place(path, node.lineno)} {node.name} takes {count}")
    assert not many


def undocumented(path: Path) -> Iterator[str]:
    module = tree(path)
    if not ast.get_docstring(module):
        yield place(path)
    scopes: list[ast.Module | ast.ClassDef] = [module]
    while scopes:
        for node in scopes.pop().body:
            if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                yield f"{place(path, node.lineno)} {node.name}"
            if isinstance(node, ast.ClassDef):
                scopes.append(node)


def test_everything_public_says_what_it_is() -> None:
    assert not [found for path in FILES for found in undocumented(path)]


def test_every_key_of_the_configuration_says_what_it_is() -> None:
    silent = []
    for path in sorted((SOURCE / "config").glob("*.py")):
        for block in (node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef) and node.bases):
            for key, after in zip(block.body, [*block.body[1:], None], strict=True):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(key, ast.AnnAssign) and not said:
                    silent.append(f"{place(path, key.lineno)} {block.name}.{ast.unparse(key.target)}")
    assert not silent


def test_isinstance_stays_at_the_doors() -> None:
    text = "".join(path.read_text("utf-8") for path in FILES)
    assert text.count("isinstance(") / text.count("\n") * 1000 <= ISINSTANCE_PER_1000_LINES


def test_a_catch_all_says_which_boundary_it_is() -> None:
    catch_all = re.compile(r"except (Base)?Exception\b(?!.*#)|except:\s*$")
    silent = [
        place(path, number)
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if catch_all.search(line) and "raise" not in _next_lines(path, number)
    ]
    assert not silent


def _next_lines(path: Path, number: int) -> str:
    """The handler below a line, up to the next line that is not indented deeper."""
    lines = path.read_text("utf-8").splitlines()
    indent = len(lines[number - 1]) - len(lines[number - 1].lstrip())
    body = []
    for line in lines[number:]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        body.append(line)
    return "\n".join(body)


def test_no_marks_of_unfinished_work() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
    assert not [place(path) for path in FILES if marks.search(path.read_text("utf-8"))]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str() as module, level=0):
                yield module
            case _:
                pass


def test_torch_is_imported_in_its_room_only() -> None:
    foreign = [
        place(path)
        for path in FILES
        if path.relative_to(SOURCE).parts[0] not in TORCH_ROOMS
        and any(name.split(".")[0] in ("torch", "transformers", "trl") for name in imported(path))
    ]
    assert not foreign


def test_importing_atlas_is_cheap() -> None:
    assert not modules_after("import atlas") & HEAVY


def test_importing_the_configuration_is_cheap() -> None:
    assert not modules_after("import atlas.config") & HEAVY


def test_help_imports_the_command_line_only() -> None:
    loaded = modules_after("from atlas.cli.app import run_command\nassert run_command(['--help']) == 0")
    assert not loaded & (HEAVY | {"pydantic", "asyncio", "yaml"})
    assert not {name for name in loaded if name.startswith("atlas.")} - {"atlas.cli", "atlas.cli.app"}


ROOMS = [atlas, *(importlib.import_module(f"atlas.{room.name}") for room in pkgutil.iter_modules(atlas.__path__))]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_a_face_is_exactly_what_it_says(room: object) -> None:
    face = getattr(room, "__all__", None)
    if face is None:
        return
    path = Path(room.__file__)  # pyright: ignore[reportAttributeAccessIssue]
    assert len(set(face)) == len(face)
    assert not [name for name in face if not hasattr(room, name)]
    if path.name != "__init__.py":
        return
    brought = {
        name.asname or name.name
        for node in tree(path).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atlas")
        for name in node.names
    }
    assert {name for name in brought if not name.startswith("_")} <= set(face)


def texts() -> Iterator[tuple[Path, str]]:
    folders = ("src", "tests", "docs", "scripts", "benchmarks", ".ci")
    kinds = {".py", ".md", ".sql", ".toml", ".txt", ".yaml", ".yml", ".sh", ".json", ""}
    for path in [*ROOT.glob("*"), *(found for folder in folders for found in (ROOT / folder).rglob("*"))]:
        if path.is_file() and path.suffix in kinds and path.name != ".git" and "__pycache__" not in path.parts:
            yield path, path.read_text("utf-8", "replace")


def test_no_path_or_host_of_one_machine_is_in_the_tree() -> None:
    folders = "|".join(("work", "root", "home"))
    hosts = "|".join(("pypi", "pythonhosted", "npmjs"))
    marks = re.compile(rf"(?<![\w.*])/({folders})/\w|({hosts})\.(org|com)|index-url|find-links")
    found = [
        f"{place(path, text[: match.start()].count(chr(10)) + 1)} {match[0]}"
        for path, text in texts()
        if path != Path(__file__)
        for match in marks.finditer(text)
    ]
    assert not found
