"""The viewer: every room of pages over one database, behind one server."""

from __future__ import annotations

from pathlib import Path

from atlas.store.boundary import Safety
from atlas.store.browse import Browser
from atlas.store.database import Database
from atlas.store.progress import Progress
from atlas.store.review import ReviewDesk
from atlas.store.shelf import Shelf
from atlas.viewer.learning import Learning
from atlas.viewer.playbooks import Playbooks
from atlas.viewer.review import ReviewRoom
from atlas.viewer.server import Door, Server
from atlas.viewer.session import OneSession
from atlas.viewer.sessions import Sessions
from atlas.viewer.training import Training

ANYBODY_HERE = Door()
"""A token that is drawn, and no other name."""


class Viewer(Server):
    """Serves the pages of one database."""

    def __init__(
        self,
        database: Database,
        *,
        who: str,
        place: str | Path,
        runs: Path = Path("runs"),
        safety: Safety | None = None,
        door: Door = ANYBODY_HERE,
    ) -> None:
        """`place` is the database's URL or state folder, which `database` is connected to; `runs` holds training runs.

        `who` is named as the one who decides; `safety` holds for notes; `door` says who may look.
        """
        browser, shelf, desk = Browser(database), Shelf(database, safety), ReviewDesk(database)
        progress = Progress(database)
        super().__init__(
            Sessions(browser),
            OneSession(browser, shelf, desk),
            ReviewRoom(desk, who=who, safety=safety),
            Playbooks(shelf, who=who),
            Learning(progress),
            Training(browser, progress, place=place, folder=runs),
            door=door,
        )
