"""The documentation is true: its code runs, its configurations load, its commands exist, its sources are named."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from atlas.cli.app import atlas
from atlas.config import AtlasConfig, parse_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SILENT_KEYS = "change nothing yet:"


def blocks(language: str) -> list[object]:
    return [
        pytest.param(match[2], id=f"{page.name}-{page.read_text('utf-8')[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for match in BLOCK.finditer(page.read_text("utf-8"))
        if match[1] == language
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_configuration_loads(text: str) -> None:
    assert isinstance(parse_config(text), AtlasConfig)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.values[0].splitlines()]  # pyright: ignore
    return [line for line in lines if line.startswith("atlas ")]


@pytest.mark.parametrize("line", commands())
def test_a_command_exists(line: str) -> None:
    command: click.Command = atlas
    words = shlex.split(line, comments=True)[1:]
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, line
        command = found
    command.make_context("atlas", words)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    told = {line.split()[1] for block in blocks("bash") for line in block.values[0].splitlines() if line[:5] == "make "}  # pyright: ignore
    assert told
    assert told <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    assert not [target for target in targets if "://" not in target and not (page.parent / target).exists()]


def test_every_source_is_on_the_list_of_papers() -> None:
    papers = (ROOT / "docs" / "papers.md").read_text("utf-8")
    missing = []
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]:
        for source in re.findall(r"Source: (.*?)(?:\"\"\"|\n\s*\n)", path.read_text("utf-8"), re.DOTALL):
            for part in " ".join(source.split()).split(";"):
                number = re.search(r"\d{4}\.\d{5}", part)
                key = number[0] if number else " ".join(re.split(r"[,:(]", part)[0].split())
                if re.search(r"\d", part) and key not in papers:
                    missing.append(f"{path.name}: {key}")
    assert not missing


def test_keys_without_effect_are_told() -> None:
    """Every key of the configuration is read somewhere, or the README says that it is not."""
    from pydantic import BaseModel

    import atlas.config as face

    readers = [path for path in (ROOT / "src" / "atlas").rglob("*.py") if path.parent.name != "config"]
    code = "".join(path.read_text("utf-8") for path in [*readers, ROOT / "src" / "atlas" / "config" / "tree.py"])
    told = (ROOT / "README.md").read_text("utf-8").split(SILENT_KEYS)[1].split("\n\n")[0]
    blocks_told = ("PruningConfig", "DriftConfig", "ReviewConfig", "RuntimeSafetyConfig")
    silent = [
        key
        for name in face.__all__
        if isinstance(block := getattr(face, name), type) and issubclass(block, BaseModel) and name not in blocks_told
        for key in block.model_fields
        if key not in ("type", "attribute") and not re.search(rf"\.{key}\b", code) and f"{key}`" not in told
    ]
    assert not silent
