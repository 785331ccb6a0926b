"""The local spool: append-only files that hold accepted events until the database has them.

A record is written with one system call before `append` returns, so that a kill -9 of this process loses nothing. Each
file is locked by its process for as long as it lives; a file whose lock is free belongs to a dead process, and whoever
opens the store next drains it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from atlas.schema.errors import StoreError

ROTATE_BYTES = 64_000_000
"""A longer file is closed for writing and removed once the database has all of it."""
_FRAME = struct.Struct("<II")
"""Length of what follows, and its CRC-32."""
_HEAD = struct.Struct("<16sIq")
"""Session, seq, microseconds since 1970; the payload follows."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SUFFIX = ".spool"
WINDOW_BYTES = 16_000_000
"""Read at a time when an orphan is drained, unless one record is longer."""
log = logging.getLogger("atlas.store")


class Row(NamedTuple):
    """An event as it goes to the database."""

    session: uuid.UUID
    """Its session."""
    seq: int
    """Its number in the session."""
    micros: int
    """When it happened: microseconds since 1970 (UTC)."""
    payload: bytes
    """Its body as JSON, texts pooled and escaped."""

    @property
    def at(self) -> datetime:
        """When it happened (UTC)."""
        return _EPOCH + self.micros * _MICROSECOND

    @property
    def type(self) -> bytes:
        """The body's type, which is its first field."""
        return self.payload[9 : self.payload.index(b'"', 9)]


class Segment:
    """One file of the spool."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.size = 0
        self.waiting = 0

    def close(self, *, remove: bool) -> None:
        """Give the file and its lock back."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self.fd)


class Slot(NamedTuple):
    """Where a row lies in the spool."""

    segment: Segment
    offset: int
    length: int

    def read(self) -> Row:
        """The row, read back from the file."""
        return next(iter(_rows(os.pread(self.segment.fd, self.length, self.offset))))


class Spool:
    """The files of this process."""

    def __init__(self, folder: Path, owner: str) -> None:
        """Make the first file.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._folder = folder
        self._owner = owner
        self._count = 0
        self._old: list[Segment] = []
        self._closed = False
        self._current = self._new_segment()

    def append(self, rows: Sequence[Row]) -> list[Slot]:
        """Write rows; on return a kill -9 of this process loses none of them.

        Raises:
            StoreError: the disk did not take them, or it is closed; none of them was accepted.
        """
        if self._closed:
            raise StoreError("The store is closed.", "Append before it is closed, or open it again.")
        if self._current.size > ROTATE_BYTES:
            self._old.append(self._current)
            self._current = self._new_segment()
        segment = self._current
        records = [_record(row) for row in rows]
        blob = records[0] if len(records) == 1 else b"".join(records)
        try:
            _write_all(segment.fd, blob)
        except OSError as error:
            os.ftruncate(segment.fd, segment.size)
            raise StoreError(
                f"The spool {segment.path} cannot be written: {error.strerror}.", "Free disk space."
            ) from error
        slots: list[Slot] = []
        for record in records:
            slots.append(Slot(segment, segment.size, len(record)))
            segment.size += len(record)
        segment.waiting += len(slots)
        return slots

    def done(self, slots: Sequence[Slot]) -> None:
        """These rows no longer wait: the database has them, or the refused file. What nobody waits for is erased."""
        for slot in slots:
            slot.segment.waiting -= 1
        if self._current.waiting == 0 and self._current.size:
            os.ftruncate(self._current.fd, 0)
            self._current.size = 0
        for segment in [old for old in self._old if old.waiting == 0]:
            segment.close(remove=True)
            self._old.remove(segment)

    def close(self) -> None:
        """Remove what is empty; what still waits stays for whoever opens the store next."""
        if not self._closed:
            self._closed = True  # Another file may get the descriptors' numbers: nothing must be written to them.
            for segment in (*self._old, self._current):
                segment.close(remove=segment.waiting == 0)
        self._old = []

    def refuse(self, row: Row, reason: str) -> None:
        """Keep a row that the database rejects for good, as a line of `refused.jsonl`."""
        refuse(self._folder, row, reason)

    def _new_segment(self) -> Segment:
        """A new file, locked before it gets the name that others look for."""
        path = self._folder / f"{self._owner}-{self._count}{SUFFIX}"
        self._count += 1
        draft = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(path)
        except OSError as error:
            raise StoreError(
                f"The spool {path} cannot be made: {error.strerror}.", "Give a writable folder."
            ) from error
        return Segment(path, fd)


def refuse(folder: Path, row: Row, reason: str) -> None:
    """Append a rejected row to the folder's `refused.jsonl`.

    Raises:
        StoreError: the disk did not take it; the row is still wanted.
    """
    line = {"session": str(row.session), "seq": row.seq, "at": row.at.isoformat(), "reason": reason}
    line["payload"] = row.payload.decode()
    try:
        fd = os.open(folder / "refused.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            _write_all(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError(f"{folder}/refused.jsonl cannot be written: {error.strerror}.", "Free disk space.") from error
    log.error("Event %d of session %s was refused: %s", row.seq, row.session, reason)


class Orphan:
    """A spool file whose process is dead, locked by this process."""

    def __init__(self, path: Path, owner: uuid.UUID, fd: int) -> None:
        self.path = path
        self.owner = owner
        self.read = 0
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def rows(self) -> Iterator[Row]:
        """Its rows, up to the first that was not written whole; that one was never accepted."""
        while self.read < self._size:
            window = os.pread(self._fd, WINDOW_BYTES, self.read)
            length = _FRAME.size + _FRAME.unpack_from(window)[0] if len(window) >= _FRAME.size else 0
            if WINDOW_BYTES < length <= self._size - self.read:
                window = os.pread(self._fd, length, self.read)
            before = self.read
            for row in _rows(window):
                self.read += _FRAME.size + _HEAD.size + len(row.payload)
                yield row
            if self.read == before:
                return

    def close(self, *, drained: bool) -> None:
        """Give it back: removed when all of it was read, set aside when some of it could not be."""
        if drained and self.read < self._size:
            torn = self.path.with_suffix(".torn")
            self.path.rename(torn)
            log.warning("%d bytes at the end of a spool are no whole events; they stay in %s.", self._rest(), torn)
        elif drained:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def _rest(self) -> int:
        return self._size - self.read


def orphans(folder: Path) -> Iterator[Orphan]:
    """Take over the spool files of dead processes, one by one."""
    for path in sorted(folder.glob("*" + SUFFIX)):
        try:
            owner = uuid.UUID(path.name.rsplit("-", 1)[0])
            fd = os.open(path, os.O_RDWR)
        except (ValueError, FileNotFoundError):  # Not ours, or drained by another process meanwhile.
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # Its process lives.
            os.close(fd)
            continue
        if path.exists():
            yield Orphan(path, owner, fd)
        else:  # Drained and removed between the open and the lock.
            os.close(fd)


def micros(moment: datetime) -> int:
    """Microseconds since 1970; a moment without a zone counts as UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _record(row: Row) -> bytes:
    checked = _HEAD.pack(row.session.bytes, row.seq, row.micros) + row.payload
    return _FRAME.pack(len(checked), zlib.crc32(checked)) + checked


def _rows(blob: bytes) -> Iterator[Row]:
    """The whole records at the start of a blob."""
    at = 0
    while at + _FRAME.size <= len(blob):
        length, check = _FRAME.unpack_from(blob, at)
        checked = blob[at + _FRAME.size : at + _FRAME.size + length]
        if len(checked) < max(length, _HEAD.size) or zlib.crc32(checked) != check:
            return
        session, seq, moment = _HEAD.unpack_from(checked)
        yield Row(uuid.UUID(bytes=session), seq, moment, checked[_HEAD.size :])
        at += _FRAME.size + length


def _write_all(fd: int, blob: bytes) -> None:
    written = os.write(fd, blob)
    while written < len(blob):
        written += os.write(fd, memoryview(blob)[written:])
