"""`atlas proxy` and `atlas proxy env`."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import click

from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.config import AtlasConfig
    from atlas.proxy import Counts

PORT = 8399
EPILOG = """\b
Examples:
  atlas proxy
  eval "$(atlas proxy env)" && python my_agent.py
  atlas proxy --lanes paired --config atlas.yaml
  atlas proxy --port 0 --upstream http://localhost:8000/v1

\b
Clients keep their own keys; one that has none gets the proxy's (OPENAI_API_KEY,
ANTHROPIC_API_KEY). The headers X-Atlas-Session and X-Atlas-Learning-Key name
a call's session and what it learns with; neither is needed.
"""
SHELLS = {"sh": 'export {name}="{value}"', "fish": 'set -gx {name} "{value}"', "powershell": '$env:{name} = "{value}"'}
KEYS = {
    "sh": 'export {name}="${{{name}:-{value}}}"',
    "fish": 'set -q {name}; or set -gx {name} "{value}"',
    "powershell": 'if (-not $env:{name}) {{ $env:{name} = "{value}" }}',
}


@click.group("proxy", invoke_without_command=True, epilog=EPILOG)
@project_options
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--no-token", is_flag=True, help="Let every program on this machine call; on a loopback address only.")
@click.option("--lanes", type=click.Choice(["auto", "paired", "routed"]), help="Overrides proxy.lanes.")
@click.option("--upstream", metavar="URL", help="Overrides proxy.openai_base.")
@click.option("--learning-key", help="Overrides proxy.learning_key.")
@click.option("--tenant", default="default", show_default=True, help="Owner of every session.")
@click.pass_context
def command(
    context: click.Context, project: Project, *, port: int, host: str, no_token: bool, tenant: str, **changed: Any
) -> None:
    """Let existing agents call models through Atlas: they only change their base URL. Ctrl-C stops it.

    Calls are passed on byte for byte, grouped into sessions, recorded, and judged and learnt from behind the answer.
    """
    if context.invoked_subcommand is not None:
        context.obj = project
        return
    counts = asyncio.run(_serve(project, _config(project, changed), (host, port), no_token=no_token, tenant=tenant))
    click.echo(
        f"{counts.sessions} sessions; {counts.calls} calls: {counts.recorded} recorded, "
        f"{counts.unrecorded} passed on unrecorded, {counts.refused} refused"
    )


@command.command("env", epilog='\b\nExample:\n  eval "$(atlas proxy env)"')
@click.option("--shell", type=click.Choice([*SHELLS]), default="sh", show_default=True, help="Whose syntax.")
@click.pass_obj
def env(project: Project, shell: str) -> None:
    """Print the variables that point an agent at the running proxy. A key that is set already stays."""
    from atlas.proxy.door import running
    from atlas.runtime import STATE_FOLDER

    address = running(project.folder / STATE_FOLDER)
    for name, value in (
        ("OPENAI_BASE_URL", f"{address.url}/v1"),
        ("OPENAI_API_BASE", f"{address.url}/v1"),
        ("ANTHROPIC_BASE_URL", address.url),
    ):
        click.echo(SHELLS[shell].format(name=name, value=value))
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        click.echo(KEYS[shell].format(name=name, value=address.token or "atlas"))


def _config(project: Project, changed: dict[str, Any]) -> AtlasConfig:
    """The project's configuration, or the defaults, with what the command line says."""
    from pydantic import ValidationError

    from atlas.cli.project import read_environment
    from atlas.config import AtlasConfig, ProxyConfig

    config = project.known_config()
    if config is None:
        read_environment(project.folder, project.variables)
        config = AtlasConfig.model_validate({"agent": {"type": "given", "name": "proxied"}})
    names = {"lanes": "lanes", "upstream": "openai_base", "learning_key": "learning_key"}
    said = {names[name]: value for name, value in changed.items() if value is not None}
    try:
        proxy = ProxyConfig.model_validate(config.proxy.model_dump() | said)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"], param_hint="--upstream") from None
    return config.model_copy(update={"proxy": proxy})


async def _serve(
    project: Project, config: AtlasConfig, address: tuple[str, int], *, no_token: bool, tenant: str
) -> Counts:
    """Serve until SIGINT or SIGTERM."""
    from atlas.proxy import Door, OpenProxy
    from atlas.runtime import STATE_FOLDER

    door = Door(project.folder / STATE_FOLDER)
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    token = None if no_token else door.token
    proxy = OpenProxy(config, project.folder, token=token, tenant=tenant)
    try:
        port = await proxy.open(*address)
        door.open(address[0], port, token=token)
        click.echo(f'Listening on http://{address[0]}:{port}; point an agent at it: eval "$(atlas proxy env)"')
        await stop.wait()
    finally:
        await proxy.close()
        door.close()
    return proxy.sessions.counts()
