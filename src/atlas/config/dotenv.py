"""`.env` files: KEY=VALUE lines that fill the environment and never overrule it."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

from atlas.schema.errors import ConfigError

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str, *, name: str = ".env") -> dict[str, str]:
    r"""The variables of a `.env` text.

    Single quotes keep a value as it is; double quotes know `\n`, `\t`, `\r`, `\"` and `\\`.

    Raises:
        ConfigError: a line is neither empty, a comment, nor KEY=VALUE; it names the line, not its text.
    """
    found: dict[str, str] = {}
    for number, raw in enumerate(text.lstrip("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _value(match[2]) if match else None
        if match is None or value is None or "\0" in value:
            raise ConfigError(f"{name}:{number}: not a KEY=VALUE line.", "Quote values that hold quotes or # signs.")
        found[match[1]] = value
    return found


def load_dotenv(path: str | Path, *, environ: MutableMapping[str, str] | None = None) -> tuple[str, ...]:
    """Add a file's variables to the environment; one that is set already stays. Gives the names that were added.

    A missing file adds nothing.

    Raises:
        ConfigError: the file cannot be read, or has a line that is not KEY=VALUE.
    """
    file = Path(path)
    known = os.environ if environ is None else environ
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({type(error).__name__}).", "Save it as UTF-8 text.") from error
    added = {name: value for name, value in parse_dotenv(text, name=str(file)).items() if name not in known}
    known.update(added)
    return tuple(added)


def _value(text: str) -> str | None:
    """A value without quotes and trailing comment; None when a quote is not closed."""
    if text[:1] not in ("'", '"'):
        return re.split(r"\s+#", " " + text, maxsplit=1)[0].strip()
    quote = text[0]
    pattern = r"'([^']*)'" if quote == "'" else r'"((?:[^"\\]|\\.)*)"'
    match = re.fullmatch(pattern + r"\s*(?:#.*)?", text)
    if match is None:
        return None
    if quote == "'":
        return match[1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match[1])
