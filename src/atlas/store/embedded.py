"""The embedded server: Postgres under a project's `.atlas/pg`, shared by all processes that use the project.

Each client holds a shared lock on `clients.lock`, which the kernel drops even on kill -9; a guard process waits for the
exclusive lock and then stops the server. The server's processes hold `server.lock`, so that the lock
says whether it lives, whatever process id an old `postmaster.pid` names. Starting happens under `start.lock`.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from atlas.schema.errors import StoreUnavailable
from atlas.store.place import GIVE_URL, Place, find_place

if TYPE_CHECKING:
    from collections.abc import Generator

log = logging.getLogger("atlas.store")

START_PATIENCE_S = 60.0
"""How long a start may take, crash recovery and waiting for another process included."""
STOP_PATIENCE_S = 5.0
"""How long the last client waits for the server's end."""
LOG_KEPT_BYTES = 4_000_000
"""A longer server log is emptied at the next start."""
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "120",
    "max_logical_replication_workers": "0",
    "log_checkpoints": "off",
    "jit": "off",
    "huge_pages": "off",
    "dynamic_shared_memory_type": "mmap",
}
SETTINGS_SINCE_18 = {"io_method": "sync"}


class Embedded:
    """A share in the server of one project; the server stops when the last share is given back."""

    def __init__(self, place: Place, clients_fd: int, dsn: str) -> None:
        self._place = place
        self._clients_fd = clients_fd
        self.dsn = dsn

    async def ensure(self) -> None:
        """Start the server again if it has died.

        Raises:
            StoreUnavailable: it does not start.
        """
        await asyncio.to_thread(_serve, self._place)

    async def close(self) -> None:
        """Give the share back, and wait for the server's end if this was the last; calling it twice is harmless."""
        if self.release():
            await asyncio.to_thread(_wait_for_end, self._place)

    def release(self) -> bool:
        """Give the share back without waiting; False when that was done before."""
        if self._clients_fd < 0:
            return False
        os.close(self._clients_fd)
        self._clients_fd = -1
        return True


async def start_embedded(folder: Path) -> Embedded:
    """Join the server in a state folder (a project's `.atlas`), starting it where it does not run.

    Raises:
        StoreUnavailable: no binaries, no place, or the server does not start.
    """
    joining = asyncio.get_running_loop().run_in_executor(None, _join, folder)
    try:
        return await asyncio.shield(joining)
    except asyncio.CancelledError:  # The thread cannot be stopped; what it brings is given back.
        joining.add_done_callback(_give_back)
        raise


def _give_back(joining: asyncio.Future[Embedded]) -> None:
    if not joining.cancelled() and joining.exception() is None:
        joining.result().release()


def _join(folder: Path) -> Embedded:
    place = find_place(folder)
    clients_fd = os.open(place.home / "clients.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(clients_fd, fcntl.LOCK_SH, "the previous server to stop")
        socket_dir = _serve(place)
    except BaseException:
        os.close(clients_fd)
        raise
    return Embedded(place, clients_fd, f"postgresql://atlas@/postgres?host={quote(str(socket_dir))}")


def _lock(fd: int, how: int, waiting_for: str) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            return fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                cause = f"The embedded database waited {START_PATIENCE_S:.0f} s for {waiting_for}."
                raise StoreUnavailable(cause, GIVE_URL) from None
            time.sleep(0.005)


def _free(path: Path, how: int = fcntl.LOCK_SH) -> bool:
    """Whether the lock on this file could be had. In a folder that was deleted nobody holds anything."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


@contextmanager
def _locked(path: Path, waiting_for: str) -> Generator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(fd, fcntl.LOCK_EX, waiting_for)
        yield fd
    finally:
        os.close(fd)


def _serve(place: Place) -> Path:
    """The folder of the running server's socket. The caller holds a share, so that no guard stops it meanwhile."""
    with _locked(place.home / "start.lock", "another process to start it"):
        if not _free(place.home / "server.lock"):
            found = _await_ready(place)
            if found:
                return found
        new = not (place.data / "PG_VERSION").exists()
        if new:
            _create(place)
        _forget_stale_pid(place)
        with _locked(place.home / "server.lock", "the server's lock") as lock_fd:
            _launch(place, lock_fd, new=new)
        found = _await_ready(place)
        if found is None:
            _check_version(place)
            raise StoreUnavailable(f"Postgres did not start: {_why(place)}", f"See {place.log}.")
        return found


def _create(place: Place) -> None:
    """A new cluster, made aside and renamed, so that a kill leaves no half of one. The guard syncs it to disk."""
    draft = place.home / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    account = place.account
    if account:
        os.chown(draft, account.uid, account.gid)
    options = ["--username=atlas", "--encoding=UTF8", "--no-locale", "--auth=peer", "--no-instructions", "--no-sync"]
    done = subprocess.run(
        [place.bin / "initdb", "-D", draft, *options],
        capture_output=True,
        text=True,
        cwd="/",
        env={"LC_ALL": "C"},
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise StoreUnavailable(f"initdb failed: {_telling(done.stderr)}", GIVE_URL)
    users = {"root", pwd.getpwuid(os.geteuid()).pw_name}
    (draft / "pg_hba.conf").write_text("local all all peer map=atlas\n")
    (draft / "pg_ident.conf").write_text("".join(f'atlas "{user}" atlas\n' for user in sorted(users)))
    draft.rename(place.data)


def _check_version(place: Place) -> None:
    """Asked of a server that did not start: it starts only on data that its own major version wrote."""
    wrote = (place.data / "PG_VERSION").read_text().strip()
    said = subprocess.run([place.bin / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    installed = re.search(r"\d+", said)
    if installed is not None and installed[0] != wrote:
        raise StoreUnavailable(
            f"The data in {place.data} was written by Postgres version {wrote}; version {installed[0]} is installed.",
            "Move that folder away, or give the address of a server that reads it as storage.database_url.",
        )


def _forget_stale_pid(place: Place) -> None:
    """Remove the pid files of a dead server. A server that somebody started by hand on this folder is no dead one."""
    pid_file = place.data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        pid = -1
    if pid > 0 and _works_in(pid, place.data):
        cause = f"Another Postgres server (process {pid}) runs on {place.data}."
        raise StoreUnavailable(cause, "Stop it, or give its address as storage.database_url.")
    pid_file.unlink(missing_ok=True)
    (place.socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _works_in(pid: int, folder: Path) -> bool:
    """Whether the process lives and has `folder` as its working directory, as a server has its data directory."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == folder
        except OSError:
            return False
    shown = subprocess.run(["ps", "-ww", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return str(folder) in shown.stdout


def _launch(place: Place, lock_fd: int, *, new: bool) -> None:
    socket_dir = _make_socket_dir(place)
    version = int(float((place.data / "PG_VERSION").read_text()))
    settings = SETTINGS | (SETTINGS_SINCE_18 if version >= 18 else {}) | {"unix_socket_directories": str(socket_dir)}
    if place.log.exists() and place.log.stat().st_size > LOG_KEPT_BYTES:
        os.truncate(place.log, 0)
    account = place.account
    own_dir = "" if socket_dir.is_relative_to(place.home) else str(socket_dir)
    order = [lock_fd, place.home / "clients.lock", place.log, own_dir]
    order += [account.uid if account else -1, account.gid if account else -1, "new" if new else "old"]
    server = [place.bin / "postgres", "-D", place.data]
    server += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    guard = [sys.executable, "-I", "-S", Path(__file__).with_name("guard.py"), *order, *server]
    subprocess.run(
        [str(part) for part in guard],
        check=True,
        pass_fds=[lock_fd],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C"},
    )


def _make_socket_dir(place: Place) -> Path:
    folder = place.socket_dir
    owner = place.account.uid if place.account else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
        if place.account:
            os.chown(folder, place.account.uid, place.account.gid)
    except FileExistsError:
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != owner:
            cause = f"{folder} belongs to somebody else; the database's socket cannot be made there."
            raise StoreUnavailable(cause, "Remove it, or move the project to a folder with a shorter path.") from None
    return folder


def _await_ready(place: Place) -> Path | None:
    """The socket's folder, once the server takes connections; None when it ended instead."""
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            lines = (place.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            lines = []
        said_ready = len(lines) > 7 and lines[7].strip() == "ready"
        if said_ready and _listens(Path(lines[4])) and _works_in(int(lines[0]), place.data):
            return Path(lines[4])
        if _free(place.home / "server.lock"):
            return None
        time.sleep(0.004)
    raise StoreUnavailable(f"Postgres was not ready after {START_PATIENCE_S:.0f} s: {_why(place)}", f"See {place.log}.")


def _listens(folder: Path) -> bool:
    """Whether somebody answers on the socket: a killed server leaves its files behind.

    A child that it has just begun may hold its socket a little longer than it lives.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / ".s.PGSQL.5432"))
        except OSError:
            return False
        return True


def _why(place: Place) -> str:
    try:
        return _telling(place.log.read_text("utf-8", "replace"))
    except OSError:
        return "it left no log."


def _telling(text: str) -> str:
    """The last complaint in what a Postgres program printed, its detail included."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for at in range(len(lines) - 1, -1, -1):
        for mark in ("FATAL:", "PANIC:", "error:"):
            if mark in lines[at]:
                return " ".join(line.partition(": ")[2].strip() for line in lines[at : at + 2])
    return lines[-1] if lines else "it printed nothing."


def _wait_for_end(place: Place) -> None:
    """Return once the server has stopped, or at once where other clients keep it."""
    clients = place.home / "clients.lock"
    nobody_left = _free(clients, fcntl.LOCK_EX)
    guard_has_it = not nobody_left and not _free(clients)
    deadline = time.monotonic() + STOP_PATIENCE_S
    while (nobody_left or guard_has_it) and time.monotonic() < deadline:
        if _free(place.home / "server.lock"):
            return
        time.sleep(0.004)
