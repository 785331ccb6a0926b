"""The guard of the embedded server: starts it as its child, waits until no client is left, then stops it.

`embedded.py` runs this file as a script in a process of its own. It imports next to nothing, so that it stays small,
and it outlives a kill -9 of any client: the kernel then drops the client's shared lock, and that is what it waits for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG in Linux' <sys/prctl.h>."""


class Order(NamedTuple):
    """What to run, as it stands on the command line."""

    lock_fd: int
    """Open descriptor that holds the server's lock; every process of the server inherits it."""
    clients: str
    """File on which each client holds a shared lock."""
    log: str
    """File that takes what the server prints."""
    socket_dir: str
    """Removed at the end when it is empty."""
    uid: int
    """User to become; -1 to stay."""
    gid: int
    """Group to become; -1 to stay."""
    new: bool
    """Whether the data directory was just made and is not yet on disk."""


class ServerGone(Exception):
    """The server ended by itself."""


def main(argv: list[str]) -> None:
    """Run the server until its last client is gone."""
    order = Order(int(argv[0]), argv[1], argv[2], argv[3], int(argv[4]), int(argv[5]), argv[6] == "new")
    if os.fork():
        os._exit(0)  # The launcher has no child to reap; this process now belongs to init.
    clients = os.open(order.clients, os.O_RDWR)
    guard = os.getpid()
    signal.signal(signal.SIGCHLD, _server_ended)
    server = -1
    try:
        server = os.fork()
        if server == 0:
            _become_server(order, argv[7:], guard)
        os.close(order.lock_fd)
        if order.new:
            os.sync()  # One call here costs a fraction of initdb's own, which syncs file by file.
        fcntl.flock(clients, fcntl.LOCK_EX)
    except ServerGone:
        os.waitpid(server, 0)
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _stop(server)
    with contextlib.suppress(OSError):
        os.rmdir(order.socket_dir)


def _server_ended(signum: int, frame: object) -> None:
    raise ServerGone


def _become_server(order: Order, command: list[str], guard: int) -> NoReturn:
    try:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        os.dup2(log, 1)
        os.dup2(log, 2)
        die_with_parent = _parent_watch()  # Loaded before the new user, who may not see this interpreter's files.
        if order.uid >= 0:
            os.setgroups([])
            os.setgid(order.gid)
            os.setuid(order.uid)
        die_with_parent()
        if os.getppid() == guard:
            os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"FATAL:  {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _parent_watch() -> Callable[[], object]:
    """A call that asks the kernel for a fast shutdown of the server when this guard is killed."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(DIE_WITH_PARENT, signal.SIGINT, 0, 0, 0)


def _stop(server: int) -> None:
    """Fast shutdown; immediate after 5 s; kill after 3 s more."""
    for how, patience_s in ((signal.SIGINT, 5.0), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 1.0)):
        try:
            os.kill(server, how)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if os.waitpid(server, os.WNOHANG)[0]:
                return
            time.sleep(0.005)


if __name__ == "__main__":
    main(sys.argv[1:])
