"""What dead processes left in their spools, carried to the database when the store is opened."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

from atlas.store.database import Database, RowRefused
from atlas.store.spool import Orphan, Row, orphans, refuse
from atlas.store.writer import BATCH_BYTES, BATCH_ROWS, send

log = logging.getLogger("atlas.store")


async def drain_orphans(database: Database, folder: Path) -> int:
    """Carry what dead processes left in their spools; returns how many rows that were.

    Raises:
        StoreUnavailable: the database went away; what is left waits for the next time.
    """
    count = 0
    for orphan in orphans(folder):
        drained = False
        try:
            count += await _drain(database, folder, orphan)
            await database.rows("release", orphan.owner)
            drained = True
        finally:
            orphan.close(drained=drained)
    if count:
        log.info("%d events that an earlier process left were carried to the database.", count)
    return count


async def _drain(database: Database, folder: Path, orphan: Orphan) -> int:
    count = 0
    batch: list[Row] = []
    size = 0
    for row in orphan.rows():
        if batch and (len(batch) == BATCH_ROWS or size > BATCH_BYTES):
            await _store(database, folder, batch, orphan.owner)
            batch, size = [], 0
        batch.append(row)
        size += len(row.payload)
        count += 1
    if batch:
        await _store(database, folder, batch, orphan.owner)
    return count


async def _store(database: Database, folder: Path, rows: list[Row], owner: uuid.UUID) -> None:
    try:
        clashes = await send(database, rows, owner, replay=True)
    except RowRefused as error:
        if len(rows) == 1:
            refuse(folder, rows[0], str(error))
            return
        middle = len(rows) // 2
        await _store(database, folder, rows[:middle], owner)
        await _store(database, folder, rows[middle:], owner)
        return
    for position in clashes:
        refuse(folder, rows[position - 1], "Another event has its place in the session.")
