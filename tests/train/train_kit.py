"""Sessions of the pocket world in a real database, and as a file: what training tests learn from."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from export_kit import Bases, execute, exported

from atlas.config import AtlasConfig
from atlas.evaluate.demo import demo_config
from atlas.evaluate.desk import Desk
from atlas.evaluate.stream import settled
from atlas.runtime import open_runtime

KEYS = ("billing/acme", "shipping/globex")


class Traces(NamedTuple):
    """The same sessions twice."""

    url: str
    """In a database."""
    file: Path
    """Exported from it."""
    sessions: int


def write_loop(folder: Path, **changes: object) -> Path:
    """The demo's loop as a configuration file."""
    plain = demo_config(learn=False, storage=False).model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    (folder / "loop.yaml").write_text(json.dumps(plain | {"storage": None} | changes))
    return folder / "loop.yaml"


async def play_desk(folder: Path, url: str, *, n: int, seed: int = 7) -> list[str]:
    """Paired sessions of n training tasks; gives their ids."""
    plain = demo_config(learn=False, storage=False).model_dump(mode="json")
    config = AtlasConfig.model_validate(plain | {"storage": {"database_url": url}})
    ids: list[str] = []
    async with await open_runtime(config, folder=folder) as runtime:
        for made in Desk(split="train").tasks(seed, n, keys=KEYS):
            ids.append((await settled(runtime, made.task, lane="paired")).id)
    return ids


@pytest.fixture(scope="session")
def desk_traces(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Forty paired sessions of the desk; all but the last two are approved."""
    folder = tmp_path_factory.mktemp("desk")

    async def make() -> Traces:
        url = await bases.new()
        ids = await play_desk(folder, url, n=40)
        await execute(url, "UPDATE sessions SET review_status = 'approved' WHERE NOT uid::text = ANY($1)", [*ids[-2:]])
        await exported(url, folder / "traces.jsonl")
        return Traces(url, folder / "traces.jsonl", len(ids) - 2)

    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(lambda: asyncio.run(make())).result()
