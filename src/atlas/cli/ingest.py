"""`atlas ingest`."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import click

from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.ingest import IngestRules, Taken

TOKEN_ENV = "ATLAS_INGEST_TOKEN"
EPILOG = """\b
Examples:
  atlas ingest
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python my_agent.py
"""


@click.command("ingest", epilog=EPILOG)
@project_options
@click.option("--port", type=click.IntRange(0, 65535), default=4318, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs a token.")
@click.option("--token-env", default=TOKEN_ENV, show_default=True, metavar="NAME", help="Variable with a bearer token.")
@click.option("--learning-key", help="Key of every session; by default the agent's name.")
@click.option("--tenant", default="default", show_default=True, help="Owner of every session.")
@click.option("--quiet-seconds", type=click.FloatRange(0.1, 3600), help="How long an unfinished trace is waited for.")
def command(
    project: Project, *, port: int, host: str, token_env: str, quiet_seconds: float | None, **named: str | None
) -> None:
    """Receive OpenTelemetry traces of agents that run elsewhere, and keep them as sessions. Ctrl-C stops it."""
    from atlas.ingest import IngestRules

    config = project.known_config()
    given = {"quiet_s": quiet_seconds, **named}
    if config is not None:
        given["capture_content"] = config.runtime_safety.capture_content
    rules = IngestRules.model_validate({name: value for name, value in given.items() if value is not None})
    taken = asyncio.run(_serve(project, rules, (host, port), os.environ.get(token_env) or None))
    click.echo(f"{taken.sessions} sessions; {taken.accepted} spans: {taken.stored} stored, {taken.refused} refused")
    if taken.waiting:
        click.echo(f"{taken.waiting} spans wait for the store; start again to write them.", err=True)


async def _serve(project: Project, rules: IngestRules, address: tuple[str, int], token: str | None) -> Taken:
    """Receive until SIGINT or SIGTERM."""
    from atlas.ingest import Ingest, Receiver, Spool
    from atlas.runtime import STATE_FOLDER

    state = project.folder / STATE_FOLDER
    state.mkdir(exist_ok=True)
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with project.store() as store:
        ingest = Ingest(store, Spool(state / "ingest", clean=project.safety().boundary.noun), rules)
        receiver = Receiver(ingest, token=token)
        await ingest.open()
        try:
            port = await receiver.open(*address)
            click.echo(f"Receiving on http://{address[0]}:{port}/v1/traces")
            await stop.wait()
        finally:
            await receiver.close()
            taken = await ingest.close()
    return taken
