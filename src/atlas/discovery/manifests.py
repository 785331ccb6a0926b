"""Files in which a framework's project itself says what its agents are."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

MAX_BYTES = 100_000


def named_graphs(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    """File and name of the graphs in a folder's `langgraph.json`: `{"graphs": {"agent": "./src/graph.py:graph"}}`.

    Nothing where there is no such file, or where it says something else; a path that leaves the project is passed over.
    """
    graphs = _mapping(_json(root / folder / "langgraph.json")).get("graphs")
    for said in _mapping(graphs).values():
        path: object = _mapping(cast(object, said)).get("path") if isinstance(said, dict) else said
        if isinstance(path, str) and ":" in path:
            file, _, name = path.rpartition(":")
            below = os.path.normpath(os.path.join(folder, file)).replace(os.sep, "/")
            if not below.startswith(("..", "/")):
                yield below, name


def _mapping(found: object) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _json(file: Path) -> object:
    """What an ordinary small file says; None where it is none."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as opened:
            told = os.fstat(handle)
            if not stat.S_ISREG(told.st_mode) or told.st_size > MAX_BYTES:
                return None
            return json.loads(opened.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
