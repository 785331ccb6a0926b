"""The warden where the kernel gives it no namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from atlas.discovery import warden

PLAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); import warden; warden._leave = lambda _: False; "
FORKS = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[2], "w").write(str(os.getpid()))
        time.sleep(99)
    time.sleep(99)
time.sleep(0.3)
"""


def guarded(folder: Path, code: str, seconds: float) -> tuple[int, list[int]]:
    """The exit code, and who was started."""
    life, held = os.pipe()
    notes = [folder / "one", folder / "two"]
    for note in notes:
        note.touch()
        note.chmod(0o666)
    command = [sys.executable, "-c", PLAIN + "sys.exit(warden.main())", str(Path(warden.__file__).parent)]
    command += [str(life), str(seconds), "/", "/usr/bin/env", "python3", "-c", code, *map(str, notes)]
    try:
        done = subprocess.run(command, pass_fds=(life,), check=False)
    finally:
        os.close(life)
        os.close(held)
    return done.returncode, [int(note.read_text()) for note in notes]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to a subreaper")
@pytest.mark.parametrize(("more", "code"), [("", 0), ("sys.exit(7)", 7), ("time.sleep(99)", warden.OUT_OF_TIME)])
def test_descendants_are_found_one_by_one(tmp_path: Path, more: str, code: int) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder.name:
            folder.chmod(folder.stat().st_mode | 0o005)
    started = time.monotonic()
    got, pids = guarded(tmp_path, FORKS + more, 2)
    assert got == code
    assert time.monotonic() - started < 8
    assert not [pid for pid in pids if alive(pid)]
