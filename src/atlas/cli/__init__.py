"""The commands; each is imported when it is called, so that `atlas --help` stays quick."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point `atlas`. A Ctrl-C that comes while it is still being imported ends it like any other."""
    try:
        from atlas.cli.app import main as start

        start()
    except KeyboardInterrupt:
        sys.exit(130)
