"""The static scan: every Python file of a project, read within limits, none of them run."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from atlas.discovery import reading
from atlas.discovery.candidates import candidates
from atlas.discovery.facts import Candidate, Place, Scan, Skipped
from atlas.discovery.known import LIBRARIES
from atlas.discovery.manifests import named_graphs
from atlas.schema.errors import DiscoveryError

MAX_FILES = 5000
"""Files that are read; a project with more is read in the order of the paths' depth."""
MAX_BYTES = 1_000_000
"""Of one file; a longer one was written by a program."""

Look = Callable[[reading.Module], Iterable[tuple[int, str]]]
"""Gives line and name of what it looks for."""

_IGNORED = frozenset(
    {
        "__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist", "eggs", "vendor", "third_party",
        "migrations",
    }
)  # fmt: skip
_ASIDE = frozenset(
    {"test", "tests", "testing", "docs", "doc", "benchmarks", "evals", "scripts", "tools", "tutorials", "extras", "wip"}
)
_ENTRY = frozenset({"agent", "main", "app", "graph", "bot", "__init__", "crew", "workflow"})


def scan(root: Path) -> Scan:
    """What the sources below `root` say. Links are not followed, special files not opened.

    Raises:
        DiscoveryError: `root` is no folder that can be read.
    """
    if not root.is_dir():
        raise DiscoveryError(f"{root} is no folder.", "Give the project's folder with --path.")
    files: dict[str, str] = {}
    skipped: list[Skipped] = []
    modules: dict[str, reading.Module] = {}
    for path, reason in _files(root):
        name = path.relative_to(root).as_posix()
        if not _utf8(name):
            name, reason = name.encode("utf-8", "backslashreplace").decode(), "a name that is no UTF-8"
        if reason is None and len(files) >= MAX_FILES:
            reason = f"more than {MAX_FILES} files"
        try:
            if reason is not None:
                raise ValueError(reason)
            source = _source(path)
            files[name] = hashlib.sha256(source).hexdigest()
            modules[name] = reading.read(source)
        except (OSError, ValueError) as error:
            skipped.append(Skipped(file=name, reason=str(error) or type(error).__name__))
    return _told(root, modules, files, skipped)


def scan_file(root: Path, name: str) -> tuple[Candidate, ...]:
    """The candidates of one file as it is now; none where it cannot be read any more."""
    try:
        module = reading.read(_source(root / name))
    except (OSError, ValueError):
        return ()
    return tuple(_ranked(name, module, frozenset()))


def hash_of(path: Path) -> str | None:
    """The hash of a file as it is now; None where it cannot be read any more."""
    try:
        return hashlib.sha256(_source(path)).hexdigest()
    except (OSError, ValueError):
        return None


def _told(root: Path, modules: dict[str, reading.Module], files: dict[str, str], skipped: list[Skipped]) -> Scan:
    own = frozenset(_own_names(modules))
    libraries = {name: reading.libraries(module, own) for name, module in modules.items()}
    found = _distinct(each for name, module in modules.items() for each in _ranked(name, module, own))
    told = {graph for folder in _folders(files, skipped) for graph in named_graphs(root, folder)}
    found = [_told_by_manifest(each) if (each.file, each.name) in told else each for each in found]
    imported = sorted({library for found in libraries.values() for library in found})
    read = {name for module in modules.values() for name in reading.keys(module)}
    return Scan(
        files=files,
        skipped=tuple(skipped),
        frameworks=tuple(imported),
        candidates=tuple(sorted(found, key=lambda each: (-each.score, each.file, -each.line))),
        prompts=_places(modules, reading.prompts),
        tools=_places(modules, reading.tools),
        models=tuple(sorted({model for module in modules.values() for model in reading.models(module)})),
        keys=tuple(sorted(read.union(*(LIBRARIES[name] for name in imported)))),
    )


def _distinct(found: Iterable[Candidate]) -> list[Candidate]:
    """One candidate for each name: of several definitions the last counts, as it does for Python."""
    return list({(each.role, each.file, each.name): each for each in found}.values())


def _folders(files: Iterable[str], skipped: Iterable[Skipped]) -> set[str]:
    """Folders of the project that may hold a manifest: those above a Python file, the root included."""
    names = (*files, *(each.file for each in skipped))
    return {"."} | {parent.as_posix() for name in names for parent in Path(name).parents}


def _told_by_manifest(found: Candidate) -> Candidate:
    why = (*found.why, "named in langgraph.json")
    return found.model_copy(update={"score": max(95, found.score + 10), "why": why})


def _ranked(file: str, module: reading.Module, own: frozenset[str]) -> Iterator[Candidate]:
    """The candidates of one file, with what its place in the project says."""
    parts = Path(file).parts
    bonus, why = 0, list[str]()
    if Path(file).stem in _ENTRY or "agent" in Path(file).stem:
        bonus, why = bonus + 4, [*why, "in a file named like an agent"]
    if any(part in _ASIDE for part in parts[:-1]) or Path(file).stem.startswith(("test_", "conftest")):
        bonus, why = bonus - 30, [*why, "aside, in tests, docs or scripts"]
    if any(part in ("examples", "example", "samples", "notebooks") for part in parts[:-1]):
        bonus, why = bonus - 8, [*why, "an example"]
    bonus -= len(parts) - 1
    for found in candidates(module):
        if not (found.framework in own and found.framework != "atlas"):
            yield found.at(file, bonus, tuple(why))


def _own_names(modules: dict[str, reading.Module]) -> Iterator[str]:
    """Names under which the project's own code is imported from its root or from `src`: they hide a library's."""
    for name in modules:
        yield name.removeprefix("src/").partition("/")[0].removesuffix(".py")


def _places(modules: dict[str, reading.Module], look: Look) -> tuple[Place, ...]:
    return tuple(
        Place(file=file, line=line, name=name) for file, module in modules.items() for line, name in look(module)
    )


def _files(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Python files breadth first, each with a reason not to read it, if there is one."""
    waiting = [root]
    while waiting:
        folders: list[Path] = []
        for folder in waiting:
            try:
                entries = sorted(os.scandir(folder), key=lambda each: each.name)
            except OSError as error:
                yield folder, error.strerror or "cannot be listed"
                continue
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if not _ignored(path):
                        folders.append(path)
                elif entry.name.endswith(".py"):
                    yield path, "a link" if entry.is_symlink() else None
        waiting = folders


def _utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _ignored(folder: Path) -> bool:
    name = folder.name
    return name.startswith(".") or name in _IGNORED or name.endswith(".egg-info") or (folder / "pyvenv.cfg").exists()


def _source(path: Path) -> bytes:
    """The bytes of an ordinary file of a bearable size.

    Raises:
        OSError: it cannot be opened; a link and a special file cannot.
        ValueError: it is too large.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as file:
        told = os.fstat(handle)
        if not stat.S_ISREG(told.st_mode):
            raise ValueError("no ordinary file")
        if told.st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return file.read(MAX_BYTES + 1)
