"""Discovery on forty small repositories, through the command line."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_repositories import REPOSITORIES, Repository

from atlas.cli.app import atlas
from atlas.config import AtlasConfig, load_config
from atlas.discovery import choose, freshness, read_record, scan
from atlas.runtime import open_runtime
from atlas.schema import Session, Task


def lay_out(repository: Repository, folder: Path) -> Path:
    for name, text in repository.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row in the database has a test of its own."""

    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr("atlas.cli.env._record", nothing)


def init(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(atlas, ["env", "init", "--path", str(folder), *more])


def test_there_are_forty_at_least() -> None:
    assert len(REPOSITORIES) >= 40


@pytest.mark.parametrize("name", REPOSITORIES)
def test_the_right_thing_is_found_without_running_any(name: str, tmp_path: Path) -> None:
    repository = REPOSITORIES[name]
    root = lay_out(repository, tmp_path)
    found = scan(root)
    for role, expected in (("agent", repository.agent), ("environment", repository.environment)):
        chosen = choose(found, role, None, root)
        assert (chosen.candidate.label if chosen else None) == expected
    assert set(repository.keys) <= set(found.keys)
    assert set(repository.frameworks) <= set(found.frameworks)


@pytest.mark.parametrize("name", [name for name, each in REPOSITORIES.items() if each.agent or each.environment])
def test_the_generated_configuration_loads(name: str, tmp_path: Path) -> None:
    root = lay_out(REPOSITORIES[name], tmp_path)
    result = init(root, "--no-run")
    assert result.exit_code == 0, result.output
    assert load_config(root / ".atlas" / "generated_config.yaml").agent.name
    record = read_record(root)
    assert record is not None
    assert freshness(record, root) == "fresh"
    assert all(chosen.look is None for chosen in record.chosen)


async def answered(config: AtlasConfig, root: Path) -> Session:
    async with await open_runtime(config, folder=root) as runtime:
        return await (await runtime.start(Task(prompt="hi"))).settled()


@pytest.mark.parametrize("name", [name for name, each in REPOSITORIES.items() if each.runs])
def test_it_runs_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = REPOSITORIES[name]
    root = lay_out(repository, tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    assert init(root, "--no-run").exit_code == 0
    config = load_config(root / ".atlas" / "generated_config.yaml").model_copy(update={"storage": None})
    try:
        session = asyncio.run(answered(config, root))
    finally:
        for module in set(sys.modules) - before:
            del sys.modules[module]
    assert session.answer == repository.runs


@pytest.mark.parametrize("name", ["another language", "nothing", "protocol", "class that needs something"])
def test_where_nothing_is_found_the_way_on_is_told(name: str, tmp_path: Path) -> None:
    from atlas.cli.app import run_command

    root = lay_out(REPOSITORIES[name], tmp_path)
    assert run_command(["env", "init", "--no-run", "--path", str(root)]) == 2
    assert not (root / ".atlas").exists()


def test_one_may_be_named(tmp_path: Path) -> None:
    root = lay_out(REPOSITORIES["class that needs something"], tmp_path)
    shown = init(root, "--no-run", "--agent-fn", "core:SupportAgent")
    assert "fill in .atlas/generated_factories.py: db" in shown.output
    assert "SupportAgent(db=...).run(prompt)  # fill in" in (root / ".atlas" / "generated_factories.py").read_text()
    named = init(root, "--no-run", "--force", "--agent-fn", "core.py:other", "--json")
    assert json.loads(named.stdout)["agent"]["import_path"] == "core:other"


def test_what_was_edited_is_not_written_over(tmp_path: Path) -> None:
    from atlas.schema.errors import DiscoveryError

    root = lay_out(REPOSITORIES["class with run"], tmp_path)
    assert init(root, "--no-run").exit_code == 0
    again = init(root, "--no-run")
    assert again.exit_code == 0
    for name in ("generated_config.yaml", "generated_factories.py"):
        file = root / ".atlas" / name
        kept = file.read_text()
        file.write_text(kept + "# mine\n")
        refused = init(root, "--no-run")
        assert isinstance(refused.exception, DiscoveryError)
        assert "was edited" in str(refused.exception)
        assert file.read_text() == kept + "# mine\n"
        file.write_text(kept)
    (root / ".atlas" / "generated_config.yaml").write_text("mine")
    assert init(root, "--no-run", "--force").exit_code == 0


def test_a_diff_is_shown_first(tmp_path: Path) -> None:
    root = lay_out(REPOSITORIES["src layout"], tmp_path)
    first = init(root, "--no-run")
    assert '+    return _load("src", "src/shop/agent.py", "shop.agent").agent(prompt)' in first.stderr
    assert "+++" not in init(root, "--no-run").stderr


def test_staleness(tmp_path: Path) -> None:
    root = lay_out(REPOSITORIES["function named agent"], tmp_path)
    init(root, "--no-run")
    record = read_record(root)
    assert record is not None
    (root / "agent.py").write_text("x = 1\ndef agent(prompt):\n    return prompt\n")
    assert freshness(record, root) == "changed"
    (root / "agent.py").write_text("def agent(prompt, more):\n    return prompt\n")
    assert freshness(record, root) == "gone"
    (root / "agent.py").unlink()
    assert freshness(record, root) == "gone"


def test_every_key_on_request(tmp_path: Path) -> None:
    root = lay_out(REPOSITORIES["a world and its agent"], tmp_path)
    (root / "args.yaml").write_text("size: 3\nname: x\n")
    shown = init(
        root, "--no-run", "--scaffold-config-full", "--env-config", str(root / "args.yaml"), "--env-arg", "size=4"
    )
    assert shown.exit_code == 0, shown.output
    text = (root / ".atlas" / "generated_config.yaml").read_text()
    assert "session_timeout_seconds: 1800.0" in text
    config = load_config(root / ".atlas" / "generated_config.yaml")
    assert config.environment is not None
    assert config.environment.arguments == {"size": 4, "name": "x"}


def test_a_teacher_is_configured_where_its_key_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_out(REPOSITORIES["function that calls a model"], tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shown = init(root, "--no-run")
    assert "not set: OPENAI_API_KEY" in shown.stdout
    assert load_config(root / ".atlas" / "generated_config.yaml").teacher.llm is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    assert init(root, "--no-run").exit_code == 0
    llm = load_config(root / ".atlas" / "generated_config.yaml").teacher.llm
    assert llm is not None
    assert (llm.provider, llm.model) == ("openai", "gpt-4o-mini")
    assert not [file for file in (root / ".atlas").rglob("*") if file.is_file() and "sk-secret" in file.read_text()]


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    from atlas.schema.errors import DiscoveryError

    root = lay_out(REPOSITORIES["function named agent"], tmp_path)
    init(root, "--no-run")
    (root / ".atlas" / "discover.json").write_text("{")
    with pytest.raises(DiscoveryError, match="cannot be read"):
        read_record(root)
    shutil.rmtree(root / ".atlas")
    assert read_record(root) is None


def test_a_large_file_is_read_in_time_that_grows_with_it(tmp_path: Path) -> None:
    def seconds(size: int) -> float:
        makers = "".join(f"def make{i}():\n    return Agent()\n" for i in range(50))
        uses = "".join(f"x{i} = make{i % 50}()\n" for i in range(size))
        (tmp_path / "many.py").write_text("from agents import Agent\n" + makers + uses)
        started = time.process_time()
        assert len(scan(tmp_path).candidates) == size + 50
        return time.process_time() - started

    assert seconds(8000) < 30 * max(seconds(1000), 0.02)


def test_a_world_is_told_what_it_is_made_with(tmp_path: Path) -> None:
    code = "class Door:\n    def __init__(self, size): ...\n    def reset(self): ...\n    def step(self, a): ...\n"
    (tmp_path / "w.py").write_text(code)
    assert "give with --env-arg: size" in init(tmp_path, "--no-run").stdout
    told = init(tmp_path, "--no-run", "--env-arg", "size=3")
    assert "size" not in told.stdout
    config = load_config(tmp_path / ".atlas" / "generated_config.yaml")
    assert config.environment is not None
    assert (config.environment.import_path, config.environment.arguments) == ("w:Door", {"size": 3})
