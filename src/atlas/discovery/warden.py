"""Runs one command of a stranger's and sees to it that nothing of it stays. Started as a program of its own.

It uses the standard library only, and is given everything by its arguments: a descriptor whose end of file means that
its master has died, the seconds, a folder to run in, and the command. On Linux the command gets namespaces of its own
for users, processes, network and mounts where the kernel allows it: it has no network, sees no other process, and ends
as a whole. Elsewhere its descendants are found and ended one by one.

How: the Linux manual pages namespaces(7), user_namespaces(7), pid_namespaces(7) and prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38

DATA_BYTES = 4 * 2**30
FILE_BYTES = 16 * 2**20
PROCESSES = 512
INNER_UID = 1000
"""Who the command is inside: nobody special, so that it loses at once what a namespace's first user may do."""

NOBODY = 65534
"""Who the command is where root starts it and the kernel gives no namespaces."""

POLL_S = 0.02
OUT_OF_TIME = 124


def main() -> int:
    """Run the command; its exit code, or 124 where it did not end in time."""
    life, seconds, folder, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    alone = sys.platform == "linux" and _leave(libc)
    if sys.platform == "linux":
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        _become(libc, command, folder, seconds=seconds, alone=alone)
    code = _watch(child, life, time.monotonic() + seconds)
    _sweep(child)
    return code


def _leave(libc: ctypes.CDLL) -> bool:
    """Enter namespaces of our own; False where the kernel forbids it."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS) != 0:
        return False
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{INNER_UID} {user} 1"),
        ("gid_map", f"{INNER_UID} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    return True


def _become(libc: ctypes.CDLL, command: list[str], folder: str, *, seconds: float, alone: bool) -> None:
    """Turn this forked child into the command; never returns."""
    try:
        os.setsid()
        if sys.platform == "linux":
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if alone:
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            if libc.mount(b"tmpfs", b"/proc", b"tmpfs", 0, b"size=4k") != 0:
                os._exit(126)  # its master's environment could be read there
            resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
        elif os.getuid() == 0:  # root could read its master's environment
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        cpu = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
        os.chdir(folder)
        os.environ["ATLAS_ALONE"] = "1" if alone else "0"
        os.execve(command[0], command, dict(os.environ))
    finally:
        os._exit(127)


def _watch(child: int, life: int, deadline: float) -> int:
    """Wait for the child, the deadline or the master's death; then the child is over."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        left = deadline - time.monotonic()
        if left <= 0 or _master_died(life, min(POLL_S, left)):
            _kill(child)
            os.waitpid(child, 0)
            return OUT_OF_TIME


def _master_died(life: int, wait_s: float) -> bool:
    readable, _, _ = select.select([life], [], [], wait_s)
    return bool(readable) and not os.read(life, 1)


def _sweep(group: int) -> None:
    """End what the command left behind: its group, then whoever was handed to us, until nobody is left."""
    with suppress(ProcessLookupError, PermissionError):  # nobody may be left in it
        os.killpg(group, signal.SIGKILL)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for pid in _children():
            _kill(pid)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(POLL_S)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Our own children as Linux tells them; none elsewhere, where nobody is handed to us."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it may have been quicker
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(min(255, abs(main())))
