"""The commands; each is imported when it is called, so that `atlas --help` stays quick."""

from atlas.cli.app import main

__all__ = ["main"]
