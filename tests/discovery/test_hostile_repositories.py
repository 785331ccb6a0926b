"""Repositories that mean harm: nothing runs before consent, no key is seen, nothing stays."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from atlas.discovery import Look, Order, look, scan

ATLAS = str(Path(sys.executable).parent / "atlas")
LINUX = sys.platform == "linux"
AGENT = "\ndef agent(prompt):\n    return 'ok'\n"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-secret")
    return "sk-planted-secret"


@pytest.fixture
def marker() -> Iterator[str]:
    """A word in the command line of a process that must not stay."""
    word = f"atlas-orphan-{os.getpid()}-{time.monotonic_ns()}"
    yield word
    for process in orphans(word):
        process.kill()


def orphans(word: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if word in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def looked(root: Path, code: str, *, timeout_s: float = 20.0, **variables: str) -> Look:
    (root / "hostile_agent.py").write_text(code + AGENT)
    order = Order(role="agent", import_path="hostile_agent:agent", root=str(root))
    return look(order, timeout_s=timeout_s, variables=variables)


def atlas_env(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [ATLAS, "env", "init", "--path", str(root), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("more", [(), ("--no-run",)])
def test_nothing_runs_without_a_word(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'a:b'}\nstorage: null\n")
    code = f"open({str(tmp_path / 'ran')!r}, 'w').write('x')"
    (tmp_path / "agent.py").write_text(code + AGENT)
    (tmp_path / "conftest.py").write_text(code)
    (tmp_path / "sitecustomize.py").write_text(code)
    (tmp_path / "setup.py").write_text(code)
    done = atlas_env(tmp_path, *more)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.rglob("*.pyc"))
    done = atlas_env(tmp_path, "--validate")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").exists()
    record = json.loads((tmp_path / ".atlas" / "discover.json").read_text())
    assert record["agent"]["look"]["ok"] is True


@pytest.mark.parametrize(("answer", "ran"), [("n", False), ("", False), ("y", True)])
def test_on_a_terminal_it_asks(tmp_path: Path, answer: str, ran: bool) -> None:
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'a:b'}\nstorage: null\n")
    (tmp_path / "agent.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')" + AGENT)
    master, slave = pty.openpty()
    command = [ATLAS, "env", "init", "--path", str(tmp_path)]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(master, 4096)
        assert b"Import agent.py:agent in a child process" in said
        assert not (tmp_path / "ran").exists()
        os.write(master, answer.encode() + b"\n")
        with suppress(OSError):  # how Linux tells that the other side is gone
            while os.read(master, 4096):
                pass
    os.close(master)
    assert process.returncode == 0
    assert (tmp_path / "ran").exists() is ran


def test_what_it_prints_goes_nowhere(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'a:b'}\nstorage: null\n")
    noise = "import os, sys\nprint('NOISE')\nsys.stderr.write('NOISE')\nos.write(1, b'NOISE')\n"
    (tmp_path / "agent.py").write_text(noise + AGENT)
    done = atlas_env(tmp_path, "--validate", "--json")
    assert done.returncode == 0, done.stderr
    assert "NOISE" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["agent"]["look"]["level"] == "result + injection"


SNOOP = """
import json, os
seen = [dict(os.environ)]
for pid in os.listdir("/proc") if os.path.isdir("/proc") else []:
    try: seen.append(open(f"/proc/{pid}/environ").read())
    except OSError: pass
open("seen.json", "w").write(json.dumps(seen))
"""


@pytest.mark.skipif(not LINUX, reason="other processes' environments are read on Linux")
def test_no_key_is_seen(tmp_path: Path, secret: str) -> None:
    assert looked(tmp_path, SNOOP, SHOP="mine").ok
    seen = (tmp_path / "seen.json").read_text()
    assert "SHOP" in seen
    assert secret not in seen


FORKS = """
import os, subprocess, sys, time
for _ in range(3):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99) #{word}"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99) #{word}"])
    time.sleep(99)
time.sleep(0.3)
{more}
"""  # noqa: E501


@pytest.mark.parametrize("more", ["", "os._exit(0)", "time.sleep(99)", "os.abort()", "raise SystemExit(0)"])
def test_no_orphan_stays(tmp_path: Path, marker: str, more: str) -> None:
    started = time.monotonic()
    found = looked(tmp_path, FORKS.replace("{word}", marker).replace("{more}", more), timeout_s=4)
    assert found.ok is (more == "")
    assert time.monotonic() - started < 12
    assert not orphans(marker)


def test_no_orphan_stays_when_atlas_is_killed(tmp_path: Path, marker: str) -> None:
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'a:b'}\nstorage: null\n")
    code = FORKS.replace("{word}", marker).replace("{more}", "open('up', 'w').close(); time.sleep(99)")
    (tmp_path / "agent.py").write_text(code + AGENT)
    command = [ATLAS, "env", "init", "--path", str(tmp_path), "--validate"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(1000):
            time.sleep(0.02)
            if (tmp_path / "up").exists():
                break
        assert orphans(marker)
        process.kill()
    for _ in range(250):
        time.sleep(0.02)
        if not orphans(marker):
            break
    assert not orphans(marker)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\nos._exit(0)", "ended its process while it was imported"),
        ("import sys\nsys.exit('bye')", "SystemExit: bye"),
        ("import time\ntime.sleep(99)", "did not finish within 2 s"),
        ("while True: pass", "did not finish within 2 s"),
        ("raise KeyError('x' * 9000)", "KeyError"),
        ("x = bytearray(8 * 2**30)", "MemoryError"),
        ("open('huge', 'wb').write(b'x' * 2**26)", "File too large|ended its process"),
        ("import no_such_package_here", "no module 'no_such_package_here'"),
    ],
)  # fmt: skip
def test_harm_is_an_answer(tmp_path: Path, code: str, why: str) -> None:
    found = looked(tmp_path, code, timeout_s=2)
    assert not found.ok
    assert re.search(why, found.error), found.error
    assert len(found.error) <= 600


def test_a_forged_result_is_not_believed_as_anything_but_text(tmp_path: Path) -> None:
    forge = """
import os
for fd in range(3, 64):
    try: os.write(fd, b'{"ok": true, "name": "forged", "run": "rm -rf"}\\n')
    except OSError: pass
os._exit(0)
"""
    found = looked(tmp_path, forge)
    assert not found.ok
    assert found.error == "it wrote something else to the result's descriptor"


def test_there_is_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)"
        found = looked(tmp_path, code)
        assert not found.ok
        with pytest.raises(TimeoutError):
            server.accept()


def test_links_and_special_files_are_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text("KEY = 'sk-planted'" + AGENT)
    root = tmp_path / "root"
    root.mkdir()
    (root / "agent.py").symlink_to(outside / "secret.py")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "passwd.py").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe.py")
    (root / "dir.py").mkdir()
    (root / "closed").mkdir()
    (root / os.fsdecode(b"bad\xff.py")).write_text(AGENT)
    found = scan(root)
    assert found.files == {}
    assert found.candidates == ()
    assert {each.reason for each in found.skipped} == {"a link", "no ordinary file", "a name that is no UTF-8"}
    found.model_dump_json()


def test_a_state_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / "agent.py").write_text(AGENT)
    (root / ".atlas").symlink_to(outside)
    done = atlas_env(root, "--no-run")
    assert done.returncode == 2
    assert "is a link" in done.stderr
    assert list(outside.iterdir()) == []


def test_texts_of_the_repository_do_not_drive_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text("agent: {type: python, import_path: 'a:b'}\nstorage: null\n")
    (tmp_path / "agent\x1b[31m.py").write_text(AGENT)
    done = atlas_env(tmp_path, "--no-run")
    assert "\x1b" not in done.stdout
