"""Where a project's viewer listens, so that other commands can name it. Nothing here loads a web server."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

FILE = "viewer.json"


@contextmanager
def announced(folder: Path, origin: str) -> Generator[None]:
    """Say in a project's state folder that its viewer listens here, as long as this lasts.

    The kernel drops the lock when the process dies. A second viewer of the project goes unannounced.
    """
    folder.mkdir(exist_ok=True)
    with os.fdopen(os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            return
        file.truncate(0)
        file.write(json.dumps({"origin": origin}))
        file.flush()
        yield


def running_at(folder: Path) -> str | None:
    """The address of the viewer that runs for a project, without its token; None where none runs."""
    try:
        with (folder / FILE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return str(json.loads(file.read())["origin"])
    except (OSError, ValueError, KeyError):
        return None
    return None
