"""Discoveries of agents in projects, one row each."""

from __future__ import annotations

import json
from typing import Any

from atlas.store.database import Database
from atlas.store.pooling import escape


async def record_discovery(database: Database, *, project_root: str, task: str | None, payload: dict[str, Any]) -> None:
    """Keep one run of `atlas env init` in `discovery_runs`.

    Raises:
        StoreError: the database is away.
    """
    text = None if task is None else escape(task)
    await database.rows("discovered", escape(project_root), text, json.dumps(payload))
