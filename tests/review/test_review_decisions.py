"""A decision counts for the content that was seen, is on record, and can be taken back."""

from __future__ import annotations

import asyncio
import json
import statistics
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from review_kit import events_of, put, story

from atlas.cli.app import run_command
from atlas.cli.arc import arc
from atlas.config import DriftConfig
from atlas.schema import Event, Task, now
from atlas.schema.errors import ConfigError, StaleVersion
from atlas.schema.events import Degraded, Failure, SessionResumed
from atlas.store import safety_of
from atlas.store.boundary import Safety
from atlas.store.open import open_database, open_postgres
from atlas.store.postgres import PgStore
from atlas.store.review import ReviewDesk, ReviewRow


async def listed(url: str, **which: object) -> list[ReviewRow]:
    async with open_database(url) as database:
        return [row async for row in ReviewDesk(database).sessions(**which)]  # pyright: ignore[reportArgumentType]


async def test_an_approval_is_bound_to_what_was_seen_and_ends_when_the_session_goes_on(
    store: PgStore, url: str
) -> None:
    events = events_of(story())
    uid = await put(store, events)
    (row,) = await listed(url)
    assert (row.id, row.review, row.by) == (uid, "pending", None)
    async with open_database(url) as database:
        desk = ReviewDesk(database)
        with pytest.raises(StaleVersion, match="Look at it again"):
            await desk.decide(uid, "approved", who="ada", seen="0" * 64)
        with pytest.raises(StaleVersion):
            await desk.decide(uid, "approved", who="ada", seen=row.hash[:5])
        assert await desk.decide(uid[:13], "approved", who="ada", note="checked", seen=row.hash[:12]) == row.hash
        await store.append(events)  # The same events again are nothing new.
        await store.flush()
        (approved,) = await listed(url, reviews=("approved",))
        assert (approved.by, approved.note, approved.hash) == ("ada", "checked", row.hash)
        resumed = Event(session_id=uid, seq=len(events) + 1, at=now(), body=SessionResumed())
        await store.append([resumed])
        await store.flush()
        (again,) = await listed(url, reviews=("pending",))
        assert again.hash != row.hash
        with pytest.raises(StaleVersion):
            await desk.decide(uid, "approved", who="ada", seen=row.hash)
        await desk.decide(uid, "quarantined", who="bob")
        await desk.decide(uid, "pending", who="bob", note="not sure")
        trail = await desk.trail(uid)
    assert [(line.who, line.what) for line in trail] == [
        ("ada", "approved"),
        ("atlas", "reopened"),
        ("bob", "quarantined"),
        ("bob", "pending"),
    ]
    assert trail[0].hash == row.hash
    assert trail[2].hash == again.hash


async def test_quarantine_holds_when_the_session_goes_on(store: PgStore, url: str) -> None:
    events = events_of(story())
    uid = await put(store, events)
    async with open_database(url) as database:
        await ReviewDesk(database).decide(uid, "quarantined", who="ada")
        more = Degraded(what="late", failure=Failure(boundary="tool", kind="ToolError", message="late"))
        await store.append([Event(session_id=uid, seq=len(events) + 1, at=now(), body=more)])
        await store.flush()
        assert [row.review for row in await listed(url)] == ["quarantined"]
        with pytest.raises(ConfigError, match="There is no session"):
            await ReviewDesk(database).decide("ffffffff", "approved", who="ada")


async def test_no_event_slips_in_while_a_session_is_approved(store: PgStore, url: str) -> None:
    """Whatever the order, an approved session is one whose content was hashed whole."""
    degraded = Degraded(what="late", failure=Failure(boundary="tool", kind="ToolError", message="late"))
    async with open_database(url) as database:
        desk = ReviewDesk(database)
        for _ in range(15):
            events = events_of(story())
            uid = await put(store, events)
            late = [Event(session_id=uid, seq=len(events) + n, at=now(), body=degraded) for n in range(1, 4)]
            await asyncio.gather(store.append(late), store.flush(), desk.decide(uid, "approved", who="ada"))
            await store.flush()
        for row in await listed(url):
            last = (await desk.trail(row.id))[-1]
            assert (row.review, last.what) in (("approved", "approved"), ("pending", "reopened"))
            assert row.review == "pending" or last.hash == row.hash


async def test_the_list_is_paged_and_filtered(store: PgStore, url: str) -> None:
    uids = [await put(store, events_of(story(), at=now() - timedelta(minutes=n))) for n in range(120)]
    assert [row.id for row in await listed(url)] == uids
    assert [row.id for row in await listed(url, limit=60, offset=30)] == uids[30:90]
    assert await listed(url, reviews=("approved",)) == []
    assert await listed(url, learning_key="other") == []
    assert [row.review async for row in store.sessions(review="pending", limit=2)] == ["pending"] * 2
    assert [row async for row in store.sessions(review="approved")] == []


async def drifting(
    url: str, folder: Path, rewards: list[float | None], safety: Safety | None = None
) -> list[ReviewRow]:
    """Sessions of one key with these rewards, oldest first."""
    store = await open_postgres(url, folder=folder, safety=safety)
    for n, reward in enumerate(rewards):
        await put(store, events_of(story(reward=reward), at=now() - timedelta(minutes=len(rewards) - n)))
    await store.close()
    return list(reversed(await listed(url)))


async def test_a_session_unlike_those_before_it_raises_the_alarm(url: str, tmp_path: Path) -> None:
    before = [0.9, 0.8, 0.95, None, 0.85, 0.9, 0.78]
    rows = await drifting(url, tmp_path, [*before, 0.1, 0.8])
    assert [row.drift is None for row in rows] == [True] * 6 + [False] * 3
    known = [reward for reward in before if reward is not None]
    found = rows[7].drift
    assert found is not None
    assert found.alert
    assert found.n == 6
    expected = (0.1 - statistics.mean(known)) / statistics.stdev(known)
    assert found.score == pytest.approx(expected)
    assert found.reason.startswith("reward 0.10 against 0.86 ±")
    assert not rows[8].drift.alert  # pyright: ignore[reportOptionalMemberAccess]
    connection = await asyncpg.connect(url)
    kept = await connection.fetch("SELECT metadata FROM sessions ORDER BY created_at")
    await connection.close()
    assert [json.loads(row[0]).get("drift_alert") for row in kept] == [None] * 6 + [False, True, False]


async def test_a_baseline_without_spread_is_no_division_by_zero(url: str, tmp_path: Path) -> None:
    rows = await drifting(url, tmp_path, [1.0] * 5 + [0.95, 0.5])
    assert [row.drift.alert for row in rows[5:] if row.drift] == [False, True]


async def test_drift_follows_the_configuration(url: str, tmp_path: Path) -> None:
    rows = await drifting(url, tmp_path, [1.0] * 5 + [0.0], safety_of()._replace(drift=DriftConfig(enabled=False)))
    assert [row.drift for row in rows] == [None] * 6


async def test_another_policy_or_key_is_another_baseline(store: PgStore, url: str) -> None:
    for n in range(6):
        await put(store, events_of(story(reward=1.0), at=now() - timedelta(minutes=30 - n)))
    other = story(reward=0.0, task=Task(prompt="x", learning_key="other"))
    await put(store, events_of(other))
    bodies = story(reward=0.0)
    bodies[0] = bodies[0].model_copy(update={"policy": "student=new"})
    await put(store, events_of(bodies))
    assert [row.drift for row in await listed(url)][:2] == [None, None]


async def test_the_commands(store: PgStore, url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    uid = await put(store, events_of(story("needle in the text")))

    async def told(*command: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run_command, ["review", *command, "--database-url", url], arc)
        said = capsys.readouterr()
        return code, said.out + said.err

    code, shown = await told("sessions")
    assert code == 0
    assert uid in shown
    assert "pending" in shown
    code, shown = await told("sessions", "--json")
    row = json.loads(shown)
    assert (await told("approve", uid, "--hash", "0" * 12, "--note", "no"))[0] == 1
    code, shown = await told("approve", uid[:18], "--hash", row["hash"], "--note", "good")
    assert (code, row["hash"][:12] in shown) == (0, True)
    assert uid not in (await told("sessions"))[1]
    assert uid in (await told("sessions", "--status", "approved"))[1]
    assert (await told("quarantine", uid))[0] == 0
    assert (await told("reopen", uid))[0] == 0
    assert uid in (await told("sessions", "--status", "all"))[1]
    assert (await told("approve", "nonsense"))[0] == 2

    config = tmp_path / "atlas.yaml"
    config.write_text(f"agent: {{type: http_api, url: http://x}}\nstorage: {{database_url: '{url}'}}\n")

    async def project(*command: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run_command, [*command, "--config", str(config), "--path", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out + said.err

    assert (await project("session", "approve", uid, "--note", "fine"))[0] == 0
    code, shown = await project("session", "list", "--review", "approved")
    assert (code, uid in shown) == (0, True)
    code, shown = await project("db", "prune", "--session", uid, "--dry-run")
    assert (code, "would delete 1 sessions with 12 events" in shown) == (0, True), shown
    assert (await project("db", "prune", "--yes"))[0] == 2
    assert (await project("db", "prune", "--older-than", "soon"))[0] == 2
    code, shown = await project("session", "delete", uid, "--yes")
    assert (code, "deleted 1 sessions with 12 events" in shown) == (0, True), shown
    assert await store.session(uid) is None
