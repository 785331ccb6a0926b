"""`atlas view` as a person starts it, and the link that a run prints."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from viewer_kit import play

from atlas.store.postgres import PgStore
from atlas.viewer.place import running_at

ATLAS = [str(Path(sys.executable).with_name("atlas"))]
AGENT = "agent: {type: python, import_path: 'mine:answer'}\nstorage: {database_url: '%s'}\n"


def atlas(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ATLAS, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@asynccontextmanager
async def viewing(folder: Path, *words: str, **variables: str) -> AsyncIterator[str]:
    """A viewer that was started in a folder; its printed address."""
    started = await asyncio.create_subprocess_exec(
        *ATLAS,
        "view",
        "--no-open",
        *words,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
    )
    assert started.stdout is not None
    try:
        yield (await asyncio.wait_for(started.stdout.readline(), 30)).decode().strip()
        started.send_signal(signal.SIGINT)
        _, complained = await asyncio.wait_for(started.communicate(), 30)
        assert (started.returncode, complained) == (0, b"")
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def test_it_prints_an_address_that_opens(store: PgStore, url: str, tmp_path: Path) -> None:
    uid = await play(store)
    async with viewing(tmp_path, uid[:13], "--port", "0", "--database-url", url) as address:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session, session.get(address) as answer:
            assert answer.status == 200
            assert "token" not in str(answer.url)
            assert "Where is order 7?" in await answer.text()
        assert running_at(tmp_path / ".atlas") == address.split("/sessions")[0]
    assert running_at(tmp_path / ".atlas") is None


async def test_a_run_prints_the_page_of_its_session(store: PgStore, url: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def answer(prompt):\n    return 'on its way'\n")
    (tmp_path / "atlas.yaml").write_text(AGENT % url)
    run = ("run", "--task", "Where is order 7?", "--lane", "auto", "--no-stream")
    first = await asyncio.to_thread(lambda: atlas(*run, folder=tmp_path))
    assert first.returncode == 0, first.stderr
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("view: ")]
    assert line.startswith("view: atlas view ")
    async with viewing(tmp_path, "--port", "0", ATLAS_VIEW_TOKEN="tok") as address:
        second = await asyncio.to_thread(lambda: atlas(*run, folder=tmp_path))
        (line,) = [line for line in second.stderr.splitlines() if line.startswith("view: ")]
        link = line.removeprefix("view: ")
        assert "tok" not in address
        assert link.startswith(address + "sessions/")
        assert "tok" not in link
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer tok"}) as session:
            assert "on its way" in await (await session.get(link)).text()
    assert (await asyncio.to_thread(lambda: atlas(*run, "--json", folder=tmp_path))).stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (("view", "--no-open"), 2, "There is no .atlas"),
        (("view", "--no-open", "--database-url", "postgresql://nobody@127.0.0.1:1/none"), 4, "does not serve"),
        (("view", "--port", "99999"), 2, "99999"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: tuple[str, ...], code: int, cause: str, tmp_path: Path) -> None:
    done = atlas(*words, folder=tmp_path)
    assert done.returncode == code
    assert cause in done.stderr
    assert "Traceback" not in done.stderr
