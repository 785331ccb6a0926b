"""Files of lines: compressed by their name, in place once they are whole, continued where they broke off."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from atlas.export.base import Row
from atlas.export.lines import json_of
from atlas.schema.errors import ConfigError

STDOUT = "-"
"""The name that means standard output, or standard input."""
UNFINISHED = ".part"
"""End of the name of a file that is still being written."""
BROKEN_OFF = ".broken"
"""End of the name of an unfinished file whose lines are being taken over."""


class Kept(NamedTuple):
    """What a file that is resumed holds already."""

    lines: int = 0
    """How many whole lines."""
    last: bytes = b""
    """The last of them."""


class LineSink:
    """Writes rows as lines."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, row: Row) -> None:
        """One line more."""
        text = row if isinstance(row, str) else json_of(row)
        self.write_raw(text.encode() + b"\n")

    def write_raw(self, line: bytes) -> None:
        """One line more, with its end."""
        try:
            self._stream.write(line)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(str(getattr(self._stream, "name", "output")), error) from error


@contextmanager
def line_file(name: str, *, resume: bool = False) -> Generator[tuple[LineSink, Kept]]:
    """A sink for a file or standard output, and what it holds already when it is resumed.

    The file is `NAME.part` until everything is in it. After a failure that part stays, for `resume`.

    Raises:
        ConfigError: the file cannot be written, or its compression is not installed.
    """
    if name == STDOUT:
        yield LineSink(sys.stdout.buffer), Kept()
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if _compression(path) == ".zst":
        _zstandard(path)
    with finished_file(path, resume=resume) as part:
        broken = path.with_name(path.name + BROKEN_OFF)
        with _compressed(part, path) as stream:
            sink = LineSink(stream)
            kept = Kept()
            for line in _whole_lines(broken, path) if broken.exists() else ():
                sink.write_raw(line)
                kept = Kept(kept.lines + 1, line)
            yield sink, kept
        broken.unlink(missing_ok=True)


@contextmanager
def finished_file(path: Path, *, resume: bool = False) -> Generator[BinaryIO]:
    """A new file that gets its name, over an older one, when the block ends well.

    Raises:
        ConfigError: it cannot be written.
    """
    part, broken = path.with_name(path.name + UNFINISHED), path.with_name(path.name + BROKEN_OFF)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not resume:
            broken.unlink(missing_ok=True)
        elif part.exists() and not broken.exists():
            part.rename(broken)
        stream = part.open("wb")
    except OSError as error:
        raise _unwritable(str(path), error) from error
    with stream:
        yield stream
        try:
            stream.flush()
            os.fsync(stream.fileno())
            part.replace(path)
        except OSError as error:
            raise _unwritable(str(path), error) from error


@contextmanager
def reading(name: str) -> Generator[BinaryIO]:
    """A file of lines, or standard input, decompressed by its name.

    Raises:
        ConfigError: it cannot be opened, or its compression is not installed.
    """
    if name == STDOUT:
        yield sys.stdin.buffer
        return
    path = Path(name)
    try:
        with path.open("rb") as raw, _decompressed(raw, path) as stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{name} is damaged: {error}.", "The lines before the damage were taken.") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.", "Give a file of records.") from error


@contextmanager
def _compressed(raw: BinaryIO, path: Path) -> Generator[BinaryIO]:
    match _compression(path):
        case ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
                yield cast("BinaryIO", packed)
        case ".zst":
            with _zstandard(path).ZstdCompressor().stream_writer(raw, closefd=False) as packed:
                yield cast("BinaryIO", packed)
        case _:
            yield raw


@contextmanager
def _decompressed(raw: BinaryIO, path: Path) -> Generator[BinaryIO]:
    match _compression(path):
        case ".gz":
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield cast("BinaryIO", unpacked)
        case ".zst":
            with _zstandard(path).ZstdDecompressor().stream_reader(raw, read_across_frames=True) as unpacked:
                yield cast("BinaryIO", io.BufferedReader(unpacked))
        case _:
            yield raw


def _compression(path: Path) -> str:
    """`.gz`, `.zst`, or nothing."""
    return path.suffix if path.suffix in (".gz", ".zst") else ""


def _zstandard(path: Path) -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        raise ConfigError(
            f"{path.name} needs the package zstandard.", "Install it (pip install zstandard) or name the file .gz."
        ) from None


def _whole_lines(broken: Path, path: Path) -> Iterator[bytes]:
    """The lines of an unfinished file, up to the first that was not written whole."""
    with (
        contextlib.suppress(EOFError, OSError, zlib.error),
        broken.open("rb") as raw,
        _decompressed(raw, path) as stream,
    ):
        for line in stream:
            if not line.endswith(b"\n"):
                return
            yield line


def _unwritable(name: str, error: OSError) -> ConfigError:
    return ConfigError(f"{name} cannot be written: {error.strerror or error}.", "Give a writable place with room.")
