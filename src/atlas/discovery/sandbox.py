"""The parent's side of a look: a warden with a clean environment, a time limit, and a descriptor for the result."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from atlas.discovery import warden
from atlas.discovery.look import Look, Order, boot_arguments
from atlas.schema.errors import DiscoveryError

MAX_RESULT_BYTES = 65_536

_GRACE_S = 3.0
"""What the warden may take beyond the command's time to sweep up."""


def look(order: Order, *, timeout_s: float, variables: Mapping[str, str]) -> Look:
    """Import and make what was found, in a child process without network, and say what it is.

    The child sees the environment variables given here, a search path and a language, and no others. It cannot print to
    our terminal. Whatever it starts is ended.

    Raises:
        DiscoveryError: this platform cannot hold a child safely.
    """
    if os.name != "posix":
        raise DiscoveryError("Looking at code needs Linux or macOS.", "Use --no-run.")
    result, told = os.pipe()
    life, held = os.pipe()
    try:
        with _unreadable(), tempfile.TemporaryDirectory(prefix="atlas-look-") as home:
            code, text = _run(order, timeout_s, _environment(home, variables), (result, told, life))
    finally:
        for descriptor in (result, life, held):
            os.close(descriptor)
    try:
        return Look.model_validate_json(text)
    except ValidationError:
        return Look(ok=False, error=_why(code, timeout_s, said=bool(text)))


@contextmanager
def _unreadable() -> Generator[None]:
    """While the child lives no process of the same user can read our environment: Linux, prctl(2), PR_SET_DUMPABLE."""
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.prctl(warden.PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(warden.PR_SET_DUMPABLE, 1, 0, 0, 0)


def _run(order: Order, timeout_s: float, environment: dict[str, str], pipes: tuple[int, int, int]) -> tuple[int, bytes]:
    """The warden's exit code and what came over the result's pipe; `pipes` are its two ends and the warden's life."""
    result, told, life = pipes
    command = [
        sys.executable,
        "-I",
        warden.__file__,
        str(life),
        str(timeout_s),
        order.root,
        *boot_arguments(order, told),
    ]
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=(told, life),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        os.close(told)
    try:
        text = _read(result, time.monotonic() + timeout_s + _GRACE_S)
        return process.wait(timeout_s + 2 * _GRACE_S), text
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _read(pipe: int, deadline: float) -> bytes:
    """What comes until the end of file, the deadline or the limit."""
    pieces = b""
    while len(pieces) < MAX_RESULT_BYTES and (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            piece = os.read(pipe, MAX_RESULT_BYTES)
            if not piece:
                break
            pieces += piece
    return pieces


def _environment(home: str, variables: Mapping[str, str]) -> dict[str, str]:
    """No key of ours, no cache of ours, no proxy of ours."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **variables}


def _why(code: int, timeout_s: float, *, said: bool) -> str:
    if said:
        return "it wrote something else to the result's descriptor"
    if code == warden.OUT_OF_TIME:
        return f"it did not finish within {timeout_s:g} s; see --timeout"
    return f"it ended its process while it was imported (exit code {code})"
