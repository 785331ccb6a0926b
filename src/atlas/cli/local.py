"""`atlas init` and `atlas quit`: the project's local database, kept running between commands.

Without them it runs all the same: every command starts it when it needs it and it stops with the last user.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import click

from atlas.schema.errors import StoreUnavailable

STOP_S = 15.0
"""How long a stop may take."""

FOLDER = click.option(
    "--path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project's folder; the database lies in .atlas/ below it.",
)


@click.command("init", epilog='\b\nExample:\n  atlas init && psql "$(atlas init)"')
@FOLDER
def init(path: Path) -> None:
    """Start the local database, keep it running, and print its address."""
    from atlas.runtime import STATE_FOLDER

    state = path.resolve() / STATE_FOLDER
    state.mkdir(exist_ok=True)
    with _pid_file(state) as file:
        if not _taken(file):
            fcntl.flock(file, fcntl.LOCK_UN)
            _start_keeper(state)
        click.echo(_address(state))


@click.command("quit", epilog="\b\nExample:\n  atlas quit")
@FOLDER
def quit_(path: Path) -> None:
    """Stop the local database. Sessions that are running keep it until they end."""
    from atlas.runtime import STATE_FOLDER

    state = path.resolve() / STATE_FOLDER
    if not state.is_dir():
        return click.echo("not running")
    with _pid_file(state) as file:
        if not _taken(file):
            return click.echo("not running")
        os.kill(int(json.loads(file.read())["pid"]), signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while _taken(file):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"The keeper did not stop within {STOP_S:.0f} s.", f"See {state}.")
            time.sleep(0.02)
    return click.echo("stopped")


commands = {"init": init, "quit": quit_}


def _pid_file(state: Path) -> IO[str]:
    return os.fdopen(os.open(state / "keeper.json", os.O_RDWR | os.O_CREAT, 0o600), "r+")


def _taken(file: IO[str]) -> bool:
    """Whether a keeper lives: it holds the lock, which the kernel drops when it dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _address(state: Path) -> str:
    return str(json.loads((state / "keeper.json").read_text())["dsn"])


def _start_keeper(state: Path) -> None:
    """Start the keeper and wait for its word.

    Raises:
        StoreUnavailable: it did not start; its own words say why.
    """
    command = [sys.executable, "-m", "atlas.cli.keeper", str(state)]
    reader, writer = os.pipe()
    with os.fdopen(reader) as said:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=writer, start_new_session=True)
        os.close(writer)
        word = said.readline().strip()
    if word != "ready":
        raise StoreUnavailable(word or "The database's keeper did not start.", "Try: atlas doctor")
