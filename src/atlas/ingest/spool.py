"""Spans on disk until their session is in the store, and the traces that are there already.

One file for each request, erased when the last of its traces is stored. A kill -9 loses none of what was accepted.
"""

from __future__ import annotations

import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from atlas.ingest.spans import Span
from atlas.schema import Noun, new_id
from atlas.schema.errors import ConfigError, StoreError

REMEMBERED = 5_000
"""Stored traces whose spans are known when they come again."""
LEDGER = "settled.jsonl"
_SPANS = TypeAdapter(tuple[Span, ...])


class Settled(Noun):
    """A trace that is in the store."""

    trace_id: str
    """Its id."""
    span_ids: frozenset[str]
    """The spans it was made of."""
    session_id: str = ""
    """The session it became; empty where an older version wrote this."""
    told: dict[str, frozenset[str]] = Field(default_factory=dict)
    """Spans that became calls, by kind."""
    above: dict[str, frozenset[str]] = Field(default_factory=dict)
    """Spans right above those, by kind."""

    def __or__(self, later: Settled) -> Settled:
        """With the spans that came later."""
        kinds = self.told.keys() | later.told.keys()
        none = frozenset[str]()
        return self.model_copy(
            update={
                "span_ids": self.span_ids | later.span_ids,
                "told": {kind: self.told.get(kind, none) | later.told.get(kind, none) for kind in kinds},
                "above": {kind: self.above.get(kind, none) | later.above.get(kind, none) for kind in kinds},
            }
        )


class Spool:
    """Files in a folder, or nothing at all where there is none."""

    def __init__(self, folder: Path | None, *, clean: Callable[[Span], Span] | None = None) -> None:
        """Take the folder for this process; `clean` takes secrets out of what is written.

        Raises:
            ConfigError: another receiver has it.
            StoreError: it cannot be written.
        """
        self._folder = folder
        self._clean = clean
        self._settled: OrderedDict[str, Settled] = OrderedDict()
        self._traces: dict[str, set[str]] = {}
        self._names: dict[str, set[str]] = {}
        self._lines = 0
        self._lock_fd: int | None = None
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError("Another receiver works in this folder.", "Stop it, or give --path.") from error
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}.") from error
        self._remember_all()

    def left(self) -> Iterator[tuple[Span, ...]]:
        """What a process that died left behind; a file that it did not finish was never accepted."""
        for file in sorted(self._folder.glob("*.spans")) if self._folder else ():
            try:
                spans = _SPANS.validate_json(file.read_bytes())
            except (OSError, ValidationError):
                file.unlink(missing_ok=True)
                continue
            self._await(file.stem, spans)
            yield spans

    def expect(self, spans: Sequence[Span]) -> str:
        """A name for these spans, which wait from now on."""
        name = new_id()
        self._await(name, spans)
        return name

    def put(self, name: str, spans: Sequence[Span]) -> None:
        """Write spans down; on return a kill -9 of this process loses none of them.

        Raises:
            StoreError: the disk did not take them.
        """
        if self._folder is None:
            return
        file = self._folder / f"{name}.spans"
        try:
            with os.fdopen(os.open(f"{file}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(_SPANS.dump_json(tuple(map(self._clean, spans) if self._clean else spans)))
            os.rename(f"{file}.new", file)
        except OSError as error:
            raise StoreError(f"{file} cannot be written: {error.strerror}.", "Free disk space.") from error
        if name not in self._traces:  # its last trace was stored meanwhile
            file.unlink(missing_ok=True)

    def settle(self, trace_id: str, settled: Settled | None) -> None:
        """A trace no longer waits. What is stored is remembered; files that nobody waits for are erased."""
        if settled is not None:
            known = self._settled.get(trace_id)
            self._remember(known | settled if known else settled)
        for name in self._names.pop(trace_id, ()):
            self._traces[name].discard(trace_id)
            if not self._traces[name]:
                del self._traces[name]
                if self._folder:
                    (self._folder / f"{name}.spans").unlink(missing_ok=True)

    def stored(self, trace_id: str) -> Settled | None:
        """What is known of a trace that is in the store; None where it is not."""
        return self._settled.get(trace_id)

    def close(self) -> None:
        """Give the folder back."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _await(self, name: str, spans: Sequence[Span]) -> None:
        self._traces[name] = {span.trace_id for span in spans}
        for trace_id in self._traces[name]:
            self._names.setdefault(trace_id, set()).add(name)

    def _remember(self, settled: Settled) -> None:
        self._settled[settled.trace_id] = settled
        if len(self._settled) > REMEMBERED:
            self._settled.popitem(last=False)
        if self._folder is None:
            return
        self._lines += 1
        if self._lines > 2 * REMEMBERED:
            self._write_all()
            return
        with (self._folder / LEDGER).open("a") as file:
            file.write(settled.model_dump_json() + "\n")

    def _remember_all(self) -> None:
        """Read the ledger; a line that was cut off tells of a trace whose spans are still in their files."""
        if self._folder is None or not (self._folder / LEDGER).exists():
            return
        for line in (self._folder / LEDGER).read_text("utf-8", "replace").splitlines()[-REMEMBERED:]:
            try:
                settled = Settled.model_validate_json(line)
            except ValidationError:
                continue
            self._settled[settled.trace_id] = settled
        self._write_all()

    def _write_all(self) -> None:
        if self._folder is None:
            return
        text = "".join(settled.model_dump_json() + "\n" for settled in self._settled.values())
        (self._folder / f"{LEDGER}.new").write_text(text, "utf-8")
        os.rename(self._folder / f"{LEDGER}.new", self._folder / LEDGER)
        self._lines = len(self._settled)
