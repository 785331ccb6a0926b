"""The process behind `atlas init`: holds a share in the local database until SIGTERM."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from pathlib import Path

from atlas.schema.errors import AtlasError
from atlas.store import open_store
from atlas.store.embedded import start_embedded


async def keep(state: Path) -> None:
    """Hold the database in the state folder, say `ready` or why not, and wait for SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with os.fdopen(os.open(state / "keeper.json", os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store = await open_store(None, folder=state, embedded=True)  # makes the schema
        try:
            share = await start_embedded(state)
        finally:
            await store.close()
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "dsn": share.dsn}))
        file.flush()
        say("ready")
        await ended.wait()
        await share.close()


def say(word: str) -> None:
    """Tell the starter, who reads one line."""
    os.write(1, word.encode() + b"\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # The starter has no child to reap; the keeper now belongs to init.
    try:
        asyncio.run(keep(Path(sys.argv[1])))
    except AtlasError as error:
        say(" ".join(str(error).split()))
        sys.exit(1)
