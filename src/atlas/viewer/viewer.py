"""The viewer: every room of pages over one database, behind one server."""

from __future__ import annotations

from atlas.store.boundary import Safety
from atlas.store.browse import Browser
from atlas.store.database import Database
from atlas.store.review import ReviewDesk
from atlas.store.shelf import Shelf
from atlas.viewer.playbooks import Playbooks
from atlas.viewer.review import ReviewRoom
from atlas.viewer.server import Server
from atlas.viewer.session import OneSession
from atlas.viewer.sessions import Sessions


class Viewer(Server):
    """Serves the pages of one database."""

    def __init__(
        self,
        database: Database,
        *,
        who: str,
        token: str | None = None,
        names: tuple[str, ...] = (),
        safety: Safety | None = None,
    ) -> None:
        """`who` is named as the one who decides; `safety` holds for notes; the others as for `Server`."""
        browser, shelf, desk = Browser(database), Shelf(database, safety), ReviewDesk(database)
        super().__init__(
            Sessions(browser),
            OneSession(browser, shelf, desk),
            ReviewRoom(desk, who=who, safety=safety),
            Playbooks(shelf, who=who),
            token=token,
            names=names,
        )
