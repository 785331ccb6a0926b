"""The pages in a real browser: headless Chromium, driven by Playwright; skipped where there is no Chromium."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from viewer_attacks import PAYLOADS
from viewer_kit import entry, events_of, play, put, told

from atlas.schema import Attempt, Event, Playbook, Provenance, now
from atlas.schema.events import Attempted
from atlas.store.browse import PLANNED_ANEW
from atlas.store.open import open_database, open_postgres
from atlas.store.postgres import PgStore
from atlas.train.manifest import Manifest, write_manifest
from atlas.viewer.viewer import Viewer
from conftest import database_of

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = ("chromium", "chromium-browser", "google-chrome")
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}
BOOK = {"tenant": "default", "key": "orders", "audience": "student"}
PAGES = {
    "sessions": "/sessions",
    "conversation": "/sessions/{id}",
    "attempts": "/sessions/{id}/attempts",
    "judgement": "/sessions/{id}/judgement",
    "memory": "/sessions/{id}/memory",
    "cost": "/sessions/{id}/cost",
    "session-training": "/sessions/{id}/training",
    "session-review": "/sessions/{id}/review",
    "events": "/sessions/{id}/events",
    "event": "/sessions/{id}/events/8",
    "review": "/review",
    "lessons": "/review/lessons",
    "playbooks": "/playbooks",
    "playbook": "/playbook?tenant=default&key=orders&audience=student",
    "old-playbook": "/playbook?tenant=default&key=orders&audience=student&version=1",
    "learning": "/learning",
    "curve": "/learning?key=orders",
    "training": "/training",
    "run": "/training/runs/first",
    "missing": "/nowhere",
}


@dataclass
class Stage:
    """A viewer over a store with something of everything, and a browser."""

    store: PgStore
    viewer: Viewer
    browser: playwright.Browser
    session: str
    """A session with every kind of event."""

    @asynccontextmanager
    async def page(
        self, *allowed: str, width: int = 1280, dark: bool = False, scripts: bool = True
    ) -> AsyncIterator[playwright.Page]:
        """A page of somebody who opened the printed address. Other complaints of the browser fail the test."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            base_url=self.viewer.origin,
        )
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on(
            "request", lambda sent: None if sent.url.startswith(self.viewer.origin) else complaints.append(sent.url)
        )
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        await page.goto(f"/?token={self.viewer.token}")
        yield page
        await context.close()
        expected = ("404 (Not Found)", "409 (Conflict)", *allowed)
        assert [one for one in complaints if not any(known in one for known in expected)] == []


@pytest.fixture(scope="module")
def chromium() -> str:
    """Where Chromium is."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(chromium: str, server: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Everything, once for all tests of this file."""
    folder = tmp_path_factory.mktemp("stage")
    async with database_of(server) as url, playwright.async_playwright() as driver:
        store = await open_postgres(url, folder=folder)
        session = await furnished(store, folder)
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await driver.chromium.launch(executable_path=chromium, args=[*root, "--disable-dev-shm-usage"])
        async with open_database(url, sizes=(0, 6), settings=PLANNED_ANEW) as database:
            viewer = Viewer(database, who="ann", place=url, runs=folder / "runs")
            await viewer.open("127.0.0.1", 0)
            yield Stage(store, viewer, browser, session)
            await browser.close()
            await viewer.close()
        await store.close()


async def furnished(store: PgStore, folder: Path) -> str:
    """Put something of everything into a store; the session with every kind of event."""
    start = now() - timedelta(hours=3)
    for n in range(60):
        text = f"the parcel of order {n} is on its way"
        await put(
            store,
            events_of(told(f"Where is order {n}?", text=text, reward=0.3 + n / 100), at=start + timedelta(minutes=n)),
        )
    session = await play(store, "Where is order 7? The customer asks for the second time.", text="it is on its way")
    source = Provenance(sessions=(session,), author="teacher", reward_source="check")
    lessons = (
        entry("Use the refund tool.", provenance=source),
        entry("Look at the parcel's number first.", state="candidate"),
    )
    await store.publish([Playbook(**BOOK, version=1, entries=lessons[:1])])
    await store.publish([Playbook(**BOOK, version=2, entries=lessons)])
    manifest = {
        "id": "r",
        "method": "sft",
        "role": "student",
        "status": "succeeded",
        "config": {},
        "seed": 1,
        "source": ".",
    }
    manifest |= {
        "data": "d" * 64,
        "examples": 4,
        "sessions": (session,),
        "base": "pocket-student",
        "base_sha256": "b" * 64,
    }
    manifest |= {"git": None, "versions": {}, "processes": 1, "started_at": datetime(2026, 3, 1, tzinfo=UTC)}
    write_manifest(folder / "runs" / "first", Manifest.model_validate(manifest))
    steps = [f'{{"step": {n}, "loss": {1 / n}, "metrics": {{"imitate": {1 / n}}}}}' for n in range(1, 41)]
    (folder / "runs" / "first" / "log.jsonl").write_text("\n".join(steps))
    return session


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_page_at_three_widths(stage: Stage, dark: bool) -> None:
    """It fits, complains about nothing, loads nothing from elsewhere, and passes the accessibility rules of axe."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    async with stage.page(dark=dark) as page:
        for name, address in PAGES.items():
            await page.goto(address.replace("{id}", stage.session))
            for size, width in WIDTHS.items():
                await page.set_viewport_size({"width": width, "height": 900})
                wide = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                if wide > 0:
                    found.append(f"{name} is {wide} pixels too wide at {width}")
                if dark == (size == "phone"):
                    await page.screenshot(path=SHOTS / f"{name}-{size}.png")
            found += [f"{name}: {one}" for one in await violations(page)]
    assert found == [], "\n".join(found)


RULES = "{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations']}"
NODE = "n => n.html.slice(0, 160) + ' ' + (n.any[0]?.message || '')"
TOLD = f"v => v.id + ': ' + v.nodes.slice(0, 3).map({NODE}).join(' | ')"


async def violations(page: playwright.Page) -> list[str]:
    """What axe finds: WCAG 2 A and AA."""
    await page.evaluate(AXE)
    return list(await page.evaluate(f"axe.run(document, {RULES}).then(r => r.violations.map({TOLD}))"))


async def test_new_sessions_appear_while_they_run(stage: Stage) -> None:
    async with stage.page() as page:
        await page.goto("/sessions")
        await page.get_by_text("live", exact=True).wait_for()
        events = events_of(told("A task that has just begun"))
        await stage.store.append(events[:4])
        await stage.store.flush()
        row = page.locator(f"#s-{events[0].session_id}")
        await row.get_by_text("running").wait_for(timeout=10_000)
        assert await page.locator(".rows > li").first.get_attribute("id") == f"s-{events[0].session_id}"
        await stage.store.append(events[4:])
        await stage.store.flush()
        await row.get_by_text("succeeded").wait_for(timeout=10_000)


async def test_a_running_session_is_read_along(stage: Stage) -> None:
    events = events_of(told("A long task"))
    await stage.store.append(events[:4])
    await stage.store.flush()
    async with stage.page() as page:
        await page.goto(f"/sessions/{events[0].session_id}")
        assert await page.locator(".moment").count() == 4
        await stage.store.append(events[4:10])
        await stage.store.flush()
        await page.locator("#e-10").wait_for(timeout=10_000)
        assert await page.locator(".moment").count() == 10
        await stage.store.append(events[10:])
        await stage.store.flush()
        await page.locator(".session-head .status-succeeded").wait_for(timeout=15_000)


async def test_everything_by_keyboard(stage: Stage) -> None:
    async with stage.page() as page:
        await page.goto("/sessions")
        for key in ("j", "j", "k", "j"):
            await page.keyboard.press(key)
        chosen = page.locator(".rows > li.on")
        assert await page.locator(".rows > li").nth(1).get_attribute("id") == await chosen.get_attribute("id")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/sessions/[0-9a-f-]{36}$"))
        await page.keyboard.press("3")
        await page.wait_for_url("**/judgement")
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.wait_for_url("**/playbooks")
        await page.keyboard.press("g")
        await page.keyboard.press("s")
        await page.wait_for_url("**/sessions")
        await page.keyboard.press("?")
        assert await page.locator("#help").is_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("n")
        await page.wait_for_url("**below=*")
        await page.keyboard.press("/")
        await page.keyboard.type("order 11?")
        await page.wait_for_url("**text=order*")
        await page.get_by_text("Where is order 11?").wait_for()
        assert await page.locator(".rows > li").count() == 1


async def test_filters_change_the_list_and_the_address(stage: Stage) -> None:
    async with stage.page() as page:
        await page.goto("/sessions")
        await page.select_option("select[name=lane]", "auto")
        await page.get_by_text("No session passes these filters").wait_for()
        assert page.url.endswith("/sessions?lane=auto")
        await page.go_back()
        await page.locator(".rows > li").first.wait_for()
        await page.get_by_text("More filters").click()
        await page.fill("input[name=min_reward]", "0.85")
        await page.keyboard.press("Tab")
        await page.wait_for_url("**min_reward=0.85*")
        await page.wait_for_function("document.querySelectorAll('.rows > li').length < 15")


async def test_the_queue_is_decided_by_keyboard_and_undone(stage: Stage) -> None:
    uids = [await play(stage.store, f"to be decided {n}") for n in range(2)]
    async with stage.page() as page:
        await page.goto("/review")
        await page.keyboard.press("j")
        await page.keyboard.press("x")
        await page.keyboard.press("j")
        await page.keyboard.press("x")
        await page.keyboard.press("q")
        for uid in uids:
            await page.locator(f"#c-{uid} .outcome").get_by_text("quarantined").wait_for()
        assert await decided(stage, uids) == ["quarantined"] * 2
        await page.keyboard.press("u")
        for uid in uids:
            await page.locator(f"#c-{uid} .outcome").get_by_text("pending").wait_for()
        assert await decided(stage, uids) == ["pending"] * 2


async def test_two_reviewers_and_a_session_that_went_on(stage: Stage) -> None:
    """Both look at the queue; one decides, one session goes on: the other is told both, and decides neither."""
    events = events_of(told("it will go on"))
    uids = [await play(stage.store, "both look at it"), await put(stage.store, events)]
    async with stage.page() as ann, stage.page() as ben:
        for page in (ann, ben):
            await page.goto("/review")
        await ann.locator(f"#c-{uids[0]} input[name=seen]").check()
        await ann.get_by_role("button", name="Quarantine").click()
        await ann.locator(f"#c-{uids[0]} .outcome").get_by_text("quarantined").wait_for()
        late = Event(session_id=uids[1], seq=len(events) + 1, at=now(), body=Attempted(attempt=Attempt(output="more")))
        await stage.store.append([late])
        await stage.store.flush()
        for uid in uids:
            await ben.locator(f"#c-{uid} input[name=seen]").check()
        await ben.get_by_role("button", name="Approve").click()
        await ben.locator(f"#c-{uids[0]} .outcome").get_by_text("It is quarantined by ann by now").wait_for()
        await ben.locator(f"#c-{uids[1]} .outcome").get_by_text("not what you saw").wait_for()
        assert await decided(stage, uids) == ["quarantined", "pending"]


async def test_decisions_without_scripts(stage: Stage) -> None:
    uid = await play(stage.store, "decided without a script")
    async with stage.page(scripts=False) as page:
        await page.goto("/review")
        await page.locator(f"#c-{uid} input[name=seen]").check()
        await page.get_by_role("button", name="Approve").click()
        assert await decided(stage, [uid]) == ["approved"]
        await page.goto(f"/sessions/{uid}/review")
        await page.get_by_role("button", name="Reopen").click()
        assert await decided(stage, [uid]) == ["pending"]


async def decided(stage: Stage, uids: list[str]) -> list[str]:
    """What stands in the database."""
    rows = {row.id: row.review async for row in stage.store.sessions(limit=200)}
    return [rows[uid] for uid in uids]


async def test_a_lesson_is_decided_and_rolled_back(stage: Stage) -> None:
    async with stage.page() as page:
        await page.goto("/review/lessons")
        await page.get_by_role("button", name="Approve into trial").first.click()
        await page.get_by_text("No lesson waits").wait_for()
        await page.goto(PAGES["playbook"] + "&version=1")
        await page.get_by_role("button", name="Roll back to version 1").click()
        await page.get_by_text("rolled_back").wait_for()
    book = await stage.store.playbook("default", "orders", "student")
    assert (book.version, len(book.entries)) == (4, 1)


async def test_without_the_cookie_the_token_is_asked_for(stage: Stage) -> None:
    async with stage.page("401 (Unauthorized)") as page:
        await page.context.clear_cookies()
        await page.goto("/learning")
        await page.get_by_placeholder("Token").fill(stage.viewer.token)
        await page.get_by_role("button", name="Open").click()
        await page.get_by_role("heading", name="Learning and cost").wait_for()
        assert page.url.endswith("/learning")


async def test_dark_is_kept(stage: Stage) -> None:
    async with stage.page() as page:
        await page.goto("/sessions")
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.get_by_role("button", name="Dark or light").click()
        await page.goto("/learning?key=orders")
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert await page.locator("canvas").count() == 3


async def test_attacks_do_nothing_in_a_browser(stage: Stage) -> None:
    """Each group of attacks in every field of a session; whatever ran would set a mark or be reported by the policy."""
    groups = ["\n".join(PAYLOADS[at : at + 30]) for at in range(0, 300, 30)]
    uids = [await play(stage.store, group, text=group) for group in groups]
    async with stage.page() as page:
        for uid in uids:
            for tab in ("", "/attempts", "/judgement"):
                await page.goto(f"/sessions/{uid}{tab}")
                assert await page.evaluate("window.__hit === undefined")
                odd = (
                    "main :is(script, img, iframe, object, embed, style, link, base, video, audio, [onerror], [onload])"
                )
                assert await page.locator(odd).count() == 0
        for path in ("/sessions", "/review"):
            await page.goto(path)
            await page.wait_for_timeout(1200)
            assert await page.evaluate("window.__hit === undefined")


async def test_the_policy_stops_what_would_get_through(stage: Stage) -> None:
    """The second wall, with the first one down: markup that reached the page does not run."""
    async with stage.page("Content Security Policy") as page:
        stopped: list[str] = []
        page.on("console", lambda said: stopped.append(said.text))
        await page.goto("/sessions")
        await page.evaluate("document.querySelector('main').innerHTML = '<img src=x onerror=\"window.__hit=1\">'")
        await page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.__hit=1'}))"
        )
        await page.wait_for_timeout(300)
        assert await page.evaluate("window.__hit === undefined")
        assert any("Content Security Policy" in one for one in stopped)
