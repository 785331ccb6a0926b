"""`atlas view`."""

from __future__ import annotations

import asyncio
import os
import signal
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click
from typing_extensions import Unpack

from atlas.cli.export import project_source
from atlas.cli.project import Project, project_options

if TYPE_CHECKING:
    from atlas.viewer.viewer import Viewer

PORT = 8420
TOKEN_ENV = "ATLAS_VIEW_TOKEN"
EPILOG = """\b
Examples:
  atlas view
  atlas view 0190b7a0
  atlas view --no-open --port 0
  atlas view --database-url postgresql://atlas@db/atlas
  curl -H "Authorization: Bearer $ATLAS_VIEW_TOKEN" "http://127.0.0.1:8420/sessions?format=json"

\b
The printed address holds a token; whoever has it sees every session and may approve them. The token is drawn anew
at each start, unless the environment gives one, which is not printed. Nothing on the pages is loaded from elsewhere.
"""


class Options(TypedDict):
    """The options of `atlas view`."""

    session_id: str
    port: int | None
    host: str
    names: tuple[str, ...]
    token_env: str
    database_url: str | None
    runs: Path | None
    opens: bool | None


@click.command("view", epilog=EPILOG)
@click.argument("session_id", metavar="[ID]", default="")
@project_options
@click.option("--port", type=click.IntRange(0, 65535), help=f"Default: {PORT}, or a free one where that is taken.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address opens it to the network.")
@click.option(
    "--name", "names", multiple=True, metavar="NAME[:PORT]", help="Another name of this server, as a proxy's."
)
@click.option("--token-env", default=TOKEN_ENV, show_default=True, metavar="NAME", help="Variable with the token.")
@click.option("--database-url", metavar="URL", help="This database, not the project's.")
@click.option("--runs", type=click.Path(path_type=Path), help="Folder of training runs.  [default: runs]")
@click.option("--open/--no-open", "opens", default=None, help="Open a browser; by default on a desktop only.")
def command(project: Project, **given: Unpack[Options]) -> None:
    """See sessions, lessons, costs and training in a browser, and review them. Ctrl-C stops it."""
    source = project_source(project)
    asyncio.run(_serve(given["database_url"] or source.place, project, given))


async def _serve(place: str | Path, project: Project, given: Options) -> None:
    """Serve until SIGINT or SIGTERM."""
    from atlas.cli.review import reviewer
    from atlas.runtime import STATE_FOLDER
    from atlas.store.browse import PLANNED_ANEW
    from atlas.store.open import open_database
    from atlas.viewer import announced
    from atlas.viewer.server import Door
    from atlas.viewer.viewer import Viewer

    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with open_database(place, sizes=(1, 6), settings=PLANNED_ANEW) as database:
        token = os.environ.get(given["token_env"]) or None
        door = Door(token=token, names=given["names"])
        runs = given["runs"] or project.folder / "runs"
        viewer = Viewer(database, who=reviewer(), place=place, runs=runs, safety=project.safety(), door=door)
        page = f"/sessions/{given['session_id']}" if given["session_id"] else "/"
        try:
            await _listen(viewer, given["host"], given["port"])
            with announced(project.folder / STATE_FOLDER, viewer.origin):
                address = f"{viewer.origin}{page}?token={viewer.token}"
                click.echo(f"{viewer.origin}{page}" if token else address)  # A token that was given is not told again.
                if _opens(given["opens"]):
                    await asyncio.to_thread(webbrowser.open, address)
                await stop.wait()
        finally:
            await viewer.close()


async def _listen(viewer: Viewer, host: str, port: int | None) -> None:
    """Listen on the port that was asked for, else on the usual one, else on a free one."""
    from atlas.schema.errors import ConfigError

    try:
        await viewer.open(host, PORT if port is None else port)
    except ConfigError:
        if port is not None:
            raise
        await viewer.open(host, 0)


def _opens(said: bool | None) -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) if said is None else said
