"""`atlas ingest` as a person runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ingest_kit import encoded
from ingest_traces import genai

from atlas.cli.app import run_command


@pytest.fixture
def project(place: Path) -> Path:
    folder = place / f"p{os.urandom(4).hex()}"
    folder.mkdir(mode=0o755)
    return folder


Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(project: Path) -> Any:
    running: list[subprocess.Popen[str]] = []

    def begin(*options: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "atlas", "ingest", "--port", "0", "--path", str(project), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables)
        running.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.communicate()


def post(url: str, *spans: dict[str, Any], **headers: str) -> int:
    request = urllib.request.Request(url, encoded(*spans), {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_it_loses_nothing_to_kill_9_and_stops_at_ctrl_c(start: Start, project: Path) -> None:
    process, url = start()
    assert post(url, *genai()[:2]) == 200
    process.kill()
    process.communicate()
    process, url = start()
    assert post(url, *genai()[2:]) == 200
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "1 sessions; 4 spans: 4 stored, 0 refused" in said
    shown = [sys.executable, "-m", "atlas", "session", "list", "--path", str(project), "--json"]
    listed = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert "Is it raining in Paris?" in listed


def test_a_token_from_the_environment_is_asked_for(start: Start) -> None:
    _, url = start("--learning-key", "rain", ATLAS_INGEST_TOKEN="geheim")
    assert post(url, *genai()) == 401
    assert post(url, *genai(), Authorization="Bearer geheim") == 200


def configured(project: Path, storage: str) -> list[str]:
    file = project / "atlas.yaml"
    file.write_text(f"agent: {{type: openai, llm: {{provider: scripted, model: x}}}}\nstorage: {storage}\n")
    return ["ingest", "--port", "0", "--path", str(project)]


def test_what_is_wrong_is_said_in_one_line(
    project: Path, url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATLAS_INGEST_TOKEN", raising=False)
    command = configured(project, f"{{database_url: '{url}'}}")
    assert run_command([*command, "--host", "0.0.0.0"]) == 2
    assert "open to the network" in capfd.readouterr().err
    assert run_command(configured(project, "null")) == 2
    assert "nothing is kept" in capfd.readouterr().err
