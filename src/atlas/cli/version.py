"""`atlas version`."""

from __future__ import annotations

import click


@click.command("version")
def command() -> None:
    """Print the versions of Atlas and Python."""
    import platform
    from importlib.metadata import version

    click.echo(f"atlas-loop {version('atlas-loop')} (Python {platform.python_version()})")
