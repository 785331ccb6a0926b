"""Where a project's proxy listens and with which token, in a file that only its owner can read."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from atlas.schema import Noun
from atlas.schema.errors import ConfigError

FILE = "proxy.json"
TOKEN_BYTES = 18


class Address(Noun):
    """What a client needs to know."""

    host: str
    """The address that is listened on."""
    port: int
    """Its port; 0 while it is not known yet."""
    token: str | None
    """The token; None where none is asked for."""

    @property
    def url(self) -> str:
        """The base of every path, with the token in it where there is one, so that clients keep their own keys."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}" + (f"/t/{self.token}" if self.token else "")


class Door:
    """The file, held by the one proxy of a project as long as it runs; the kernel lets go of it when it dies."""

    def __init__(self, state: Path) -> None:
        """Take it.

        Raises:
            ConfigError: another proxy has it, or it cannot be written.
        """
        try:
            state.mkdir(exist_ok=True)
            self._file = _opened(state)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("A proxy runs for this project already.", 'Use it: eval "$(atlas proxy env)"') from None
        except OSError as error:
            raise ConfigError(f"{state / FILE} cannot be written ({error.strerror}).", "Give --path.") from error
        known = _known(self._file)
        self.token = known.token if known and known.token else secrets.token_urlsafe(TOKEN_BYTES)
        """The project's token: made once, so that a shell's environment outlives a restart."""

    def open(self, host: str, port: int, *, token: str | None) -> Address:
        """Tell where the proxy listens."""
        address = Address(host=host, port=port, token=token)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(address.model_dump_json())
        self._file.flush()
        return address

    def close(self) -> None:
        """Give it back; the token is kept."""
        self._file.close()


def running(state: Path) -> Address:
    """Where the project's proxy listens.

    Raises:
        ConfigError: none runs.
    """
    if (state / FILE).exists():
        with _opened(state) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                address = _known(file)
                if address is not None and address.port:
                    return address
    raise ConfigError("No proxy runs for this project.", "Start one: atlas proxy")


def _opened(state: Path) -> IO[str]:
    return os.fdopen(os.open(state / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")


def _known(file: IO[str]) -> Address | None:
    file.seek(0)
    try:
        return Address.model_validate_json(file.read())
    except ValidationError:
        return None
