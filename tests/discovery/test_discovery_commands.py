"""`atlas env init`, `atlas run` and `atlas doctor` on what was found, with a real database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from atlas.cli.app import atlas
from atlas.schema.errors import DiscoveryError
from atlas.store.embedded import start_embedded

ATLAS = str(Path(sys.executable).parent / "atlas")
AGENT = "import os\nKEY = os.environ.get('SHOP_API_KEY')\ndef agent(prompt):\n    return f'did: {prompt}'\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("found-shop")
    (folder / "agent.py").write_text(AGENT)
    yield folder
    data = folder / ".atlas" / "pg"
    if data.is_symlink():
        shutil.rmtree(data.resolve())


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "SHOP_API_KEY"}
    return subprocess.run(
        [ATLAS, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


async def test_from_sources_to_an_answer(shop: Path) -> None:
    found = run("env", "init", "--validate", "--task", "the kept task", folder=shop)
    assert found.returncode == 0, found.stderr
    assert "agent  agent.py:agent (line 3)" in found.stdout
    assert "run in a child process: ok, result + injection" in found.stdout
    assert "not set: SHOP_API_KEY" in found.stdout
    done = run("run", "--no-stream", folder=shop)
    assert (done.returncode, done.stdout) == (0, "did: the kept task\n"), done.stderr
    done = run("run", "--task", "another", "--json", folder=shop)
    session = json.loads(done.stdout)
    kept = json.loads((shop / ".atlas" / "runs" / f"{session['session_id']}.json").read_text())
    assert (kept["status"], kept["lane"]) == ("succeeded", "auto")
    embedded = await start_embedded(shop / ".atlas")
    try:
        connection = await asyncpg.connect(embedded.dsn)
        rows = await connection.fetch("SELECT project_root, task, source, payload FROM discovery_runs")
        await connection.close()
    finally:
        await embedded.close()
    (row,) = rows
    assert (row["project_root"], row["task"], row["source"]) == (str(shop), "the kept task", "discovery")
    assert json.loads(row["payload"])["agent"]["import_path"] == "agent:agent"


def test_a_change_is_told_and_a_loss_stops(shop: Path) -> None:
    if not (shop / ".atlas" / "discover.json").exists():
        run("env", "init", "--no-run", "--task", "x", folder=shop)
    well = run("doctor", folder=shop)
    assert well.returncode == 0, well.stdout
    assert "ok   discovery: agent.py:agent" in well.stdout
    assert "ok   agent: python:agent: result + injection" in well.stdout
    assert "keys of the project: not set: SHOP_API_KEY" in well.stdout
    (shop / "agent.py").write_text("# changed\n" + AGENT)
    changed = run("run", "--no-stream", folder=shop)
    assert changed.returncode == 0
    assert "agent.py:agent changed since `atlas env init`; it is still there" in changed.stderr
    (shop / "agent.py").write_text("def other(prompt):\n    return prompt\n")
    gone = run("run", folder=shop)
    assert gone.returncode == 2
    assert "not there as it was found. Run: atlas env init" in gone.stderr
    sick = run("doctor", folder=shop)
    assert sick.returncode == 2
    assert "FAIL discovery: The sources changed" in sick.stdout


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'a:b'}\nstorage: null\n")
    (tmp_path / "a.py").write_text("import semantic_kernel\ndef agent(prompt):\n    return prompt\n")
    assert run("env", "init", "--no-run", folder=tmp_path).returncode == 0
    (tmp_path / "atlas.yaml").unlink()
    assert "FAIL library semantic_kernel: not installed" in run("doctor", folder=tmp_path).stdout
    failed = run("env", "init", "--validate", folder=tmp_path)
    assert "no module" in failed.stdout
    assert failed.returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--no-run", "--validate"), "exclude each other"),
        (("--env-arg", "x"), "write NAME=VALUE"),
        (("--agent-fn", "nothing"), "names nothing"),
        (("--agent-fn", "no.such:thing"), "There is no module"),
        (("--path", "nowhere"), "is no folder"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    done = run("env", "init", *words, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / ".atlas").exists()


@pytest.mark.parametrize("template", ["function", "steps", "environment", "program"])
def test_a_template_runs_at_once(tmp_path: Path, template: str) -> None:
    written = run("env", "scaffold", "--template", template, "--path", "new", folder=tmp_path)
    assert written.returncode == 0
    config = tmp_path / "new" / "atlas.yaml"
    config.write_text(config.read_text().replace("storage: {}", "storage: null"))
    done = run("run", "--path", "new", "--task", "Guess my number.", "--no-stream", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if template == "environment":
        assert "reward 1.00" in done.stderr


def test_a_template_does_not_write_over_what_is_there(tmp_path: Path) -> None:
    runner = CliRunner()
    first = ["env", "scaffold", "--path", str(tmp_path)]
    assert runner.invoke(atlas, first).exit_code == 0
    again = runner.invoke(atlas, first)
    assert isinstance(again.exception, DiscoveryError)
    assert "exists" in str(again.exception)
    assert runner.invoke(atlas, [*first, "--force"]).exit_code == 0
