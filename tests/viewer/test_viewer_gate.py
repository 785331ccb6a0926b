"""Who may look, what never leaves, and what strangers' requests come to."""

from __future__ import annotations

import hashlib
import io
import random
import re
import string
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_kit import Reader, play
from yarl import URL

from atlas.schema.errors import ConfigError
from atlas.store.postgres import PgStore
from atlas.viewer.gate import Gate
from atlas.viewer.place import announced, running_at
from atlas.viewer.rendering import assets
from atlas.viewer.seeing import compared, ghostly, visible
from atlas.viewer.server import Door, Server
from atlas.viewer.viewer import Viewer

STATIC = Path(__file__).parents[2] / "src" / "atlas" / "viewer" / "static"


def bare(viewer: Viewer) -> aiohttp.ClientSession:
    """Somebody without the token."""
    return aiohttp.ClientSession(viewer.origin, cookie_jar=aiohttp.DummyCookieJar())


def pages(viewer: Viewer) -> list[tuple[str, str]]:
    """Every route of the application, as method and path."""
    routes = viewer.app(frozenset()).router.routes()
    return sorted({(route.method, route.resource.canonical) for route in routes if route.method != "HEAD"})  # pyright: ignore


async def test_without_the_token_nothing_is_shown(viewer: Viewer) -> None:
    async with bare(viewer) as stranger:
        for method, path in pages(viewer):
            if path.startswith("/static/"):
                continue
            async with stranger.request(method, re.sub(r"\{[^}]+\}", "1", path)) as answer:
                assert answer.status == 401, path
                assert "needs the token" in await answer.text()
        for wrong in ("", "x", viewer.token[:-1], viewer.token + "x", "é"):
            assert (await stranger.get("/sessions", params={"token": wrong})).status == 401
            named = {"Authorization": f"Bearer {wrong}".strip()} if wrong.isascii() else {}
            assert (await stranger.get("/sessions", headers=named)).status == 401
        assert (await stranger.get("/sessions", headers={"Authorization": f"Bearer {viewer.token}"})).status == 200


async def test_the_token_becomes_a_cookie_and_leaves_the_address(viewer: Viewer) -> None:
    async with bare(viewer) as stranger:
        answer = await stranger.get("/sessions?status=failed&token=" + viewer.token, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/sessions?status=failed")
        cookie = answer.headers["Set-Cookie"]
        assert viewer.token not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        elsewhere = URL(f"{viewer.origin}//evil.example/x?token={viewer.token}", encoded=True)
        moved = await stranger.get(elsewhere, allow_redirects=False)
        assert moved.headers["Location"] == "/evil.example/x"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", ""]
)
async def test_another_name_is_refused(viewer: Viewer, host: str) -> None:
    """A page whose own name was bound to 127.0.0.1 is not let through, with or without the token."""
    async with bare(viewer) as stranger:
        for path in ("/sessions", "/static/app.css"):
            named = {"Host": host, "Authorization": f"Bearer {viewer.token}"}
            assert (await stranger.get(path, headers=named)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "file://"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_request_from_another_page_is_refused(reader: Reader, headers: dict[str, str]) -> None:
    csrf = await reader.csrf()
    answer = await reader.session.post("/review/decide", data={"csrf": csrf, "decision": "approved"}, headers=headers)
    assert answer.status == 403
    assert "other sites" in await answer.text()


async def test_own_names_are_let_through(viewer: Viewer) -> None:
    port = viewer.origin.rpartition(":")[2]
    async with bare(viewer) as stranger:
        for name in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
            named = {"Host": name, "Origin": f"http://{name}", "Authorization": f"Bearer {viewer.token}"}
            assert (await stranger.get("/sessions", headers=named)).status == 200


async def test_a_further_name_has_to_be_given() -> None:
    server = Server(door=Door(token="t", names=("Atlas.example",)))
    await server.open("127.0.0.1", 0)
    async with aiohttp.ClientSession(server.origin) as session:
        asked = {"Host": "atlas.example", "Origin": "https://atlas.example", "Authorization": "Bearer t"}
        assert (await session.get("/", headers=asked, allow_redirects=False)).status == 303
    with pytest.raises(ConfigError, match="cannot be listened on"):
        await Server(door=Door()).open("127.0.0.1", int(server.origin.rpartition(":")[2]))
    await server.close()


async def test_every_answer_has_its_headers(reader: Reader, viewer: Viewer) -> None:
    for path in ("/sessions", "/nowhere", "/static/app.js", "/live/sessions", "/sessions?status=odd"):
        async with reader.session.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            kept = "immutable" in answer.headers["Cache-Control"]
            assert kept == path.startswith("/static/")


def test_pages_load_nothing_from_elsewhere_and_hold_no_script() -> None:
    root = STATIC.parent
    for path in [*(root / "templates").glob("*.html"), *STATIC.glob("*.*")]:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), path
    for path in (root / "templates").glob("*.html"):
        text = path.read_text("utf-8")
        assert not re.search(r"\son\w+=|style=|<style|javascript:|\|\s*safe|hx-on|<script(?! src=)", text), path


def test_vendored_files_are_what_their_list_says() -> None:
    listed = dict(re.findall(r"\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|", (STATIC / "vendor" / "README.md").read_text()))
    found = {path.name: path for path in (STATIC / "vendor").iterdir() if path.suffix in (".js", ".css")}
    assert set(listed) == set(found)
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == listed[name] for name, path in found.items())


async def test_two_thousand_traversals_lead_nowhere(reader: Reader, viewer: Viewer, tmp_path: Path) -> None:
    """Only files that were loaded at the start are served; no name reaches the disk."""
    dice = random.Random(1)
    dots = ["..", "%2e%2e", ".%2e", "%252e%252e", "..;", "....", "%c0%ae%c0%ae", "..%00", "%uff0e%uff0e"]
    slashes = ["/", "%2f", "%5c", "\\", "//", "%252f", "%c0%af"]
    targets = ["etc/passwd", "gate.py", "templates/base.html", "../viewer.json", "proc/self/environ", "app.css%00.py"]
    folders = ["/static/", "/static/vendor/", "/training/runs/", "/sessions/", "/"]
    known = {asset.content for asset in assets().values()}
    for _ in range(2000):
        steps = "".join(dice.choice(dots) + dice.choice(slashes) for _ in range(dice.randint(1, 8)))
        path = dice.choice(folders) + steps + dice.choice(targets)
        async with reader.session.get(URL(viewer.origin + path, encoded=True), allow_redirects=False) as answer:
            body = await answer.read()
            assert answer.status in (303, 400, 404), path
            assert answer.status != 303 or answer.headers["Location"].startswith("/"), path
            assert b"root:" not in body, path
            assert body not in known


async def test_no_request_makes_it_fail(store: PgStore, reader: Reader, viewer: Viewer) -> None:
    """Every route with odd paths, fields and forms: an answer below 500, however odd."""
    uid = await play(store)
    dice = random.Random(2)
    csrf = await reader.csrf()
    odd = [
        "",
        "0",
        "-1",
        "9" * 30,
        "nan",
        "inf",
        "1e400",
        "\x00",
        "é",
        "𝔘",
        "\u202e",
        "' OR 1=1 --",
        "<b>",
        "%",
        "a" * 5000,
    ]
    odd += [
        uid,
        uid[:9],
        "default",
        "orders",
        "student",
        "teacher",
        "pending",
        "true",
        "2026-01-01",
        "0001-01-01T00:00",
    ]
    odd += [
        "9999-12-31T23:59:59+14:00",
        "{}",
        "[]",
        "7fffffffffffffff." + "f" * 32,
        "." + "0" * 32,
        f"{uid} {'0' * 64} pending -",
    ]
    names = [
        "status",
        "lane",
        "key",
        "tenant",
        "review",
        "drift",
        "min_reward",
        "max_cost",
        "since",
        "until",
        "text",
        "below",
    ]
    names += [
        "after",
        "audience",
        "version",
        "against",
        "format",
        "alarms",
        "token",
        "seen",
        "decision",
        "note",
        "back",
    ]
    names += ["entry", "newest", "to"]
    asked = 0
    for method, path in pages(viewer):
        if path.startswith("/live/"):
            continue
        for _ in range(60):
            filled = re.sub(r"\{[^}]+\}", lambda _: dice.choice([*odd[:14], uid, uid]).replace("/", ""), path)
            given = {dice.choice(names): dice.choice(odd) for _ in range(dice.randint(0, 5))}
            given.pop("token", None)
            form = {"csrf": csrf, **given} if method == "POST" else None
            query = {name: value for name, value in given.items() if method == "GET" or name == "format"}
            async with reader.session.request(method, filled, params=query, data=form, allow_redirects=False) as answer:
                text = await answer.text()
                assert answer.status < 500, (method, filled, given, text)
                asked += 1
    assert asked > 1000


@pytest.mark.parametrize("body", [b"", b"\xff" * 100, b"a=" * 5000, b'{"csrf": 1}', b"x" * 1_100_000])
@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json", "x"]
)
async def test_odd_bodies_are_refused(reader: Reader, body: bytes, kind: str) -> None:
    for path in ("/review/decide", "/playbook/rollback", "/review/lessons/decide"):
        csrf = {"X-Atlas-Csrf": await reader.csrf()}
        for headers in ({}, csrf):
            answer = await reader.session.post(path, data=io.BytesIO(body), headers={"Content-Type": kind, **headers})
            assert 400 <= answer.status < 500


async def test_reading_takes_no_other_verb(reader: Reader) -> None:
    for verb in ("POST", "PUT", "DELETE", "PATCH"):
        headers = {"X-Atlas-Csrf": await reader.csrf()}
        assert (await reader.session.request(verb, "/sessions", headers=headers)).status == 405


# --- what cannot be seen


@given(st.text() | st.text(alphabet="<>&\"'ab\u200b\u202e"))
def test_every_character_is_shown_or_named(text: str) -> None:
    shown = str(visible(text))
    plain = re.sub(r'<span class="ghost" title="[^"<]*">U\+([0-9A-F]+)</span>', lambda one: chr(int(one[1], 16)), shown)
    import html

    assert html.unescape(plain) == html.unescape(html.escape(text))
    assert "<" not in re.sub(r'<span class="ghost" title="[^"<]*">|</span>', "", shown)


@pytest.mark.parametrize(
    "character",
    ["\u200b", "\u202e", "\u2066", "\ufeff", "\u00ad", "\U000e0041", "\x00", "\x1b", "\u3164", "\u00a0", "\ue000"],
)
def test_what_hides_is_named(character: str) -> None:
    assert f"U+{ord(character):04X}" in visible(f"pay{character}pal")


def test_ordinary_text_is_left_alone() -> None:
    for text in ("naïve café", "日本語のテキスト", "שלום", "नमस्ते", "line\n\tnext", "👩‍👩‍👧 ❤️"):
        assert "ghost" not in visible(text), text
    assert ghostly("\u200d", before="a")


@given(
    st.text(alphabet=string.ascii_lowercase + " .", max_size=80),
    st.text(alphabet=string.ascii_lowercase + " .", max_size=80),
)
def test_a_comparison_holds_both_texts(old: str, new: str) -> None:
    pieces = compared(old, new)
    assert pieces is not None
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == old
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == new


def test_texts_that_are_too_long_are_not_compared() -> None:
    assert compared("a " * 2000, "b") is None


# --- where it runs


def test_other_commands_know_a_viewer_that_runs(tmp_path: Path) -> None:
    assert running_at(tmp_path) is None
    with announced(tmp_path, "http://127.0.0.1:8420"):
        assert running_at(tmp_path) == "http://127.0.0.1:8420"
        with announced(tmp_path, "http://127.0.0.1:8421"):
            assert running_at(tmp_path) == "http://127.0.0.1:8420"
    assert running_at(tmp_path) is None


def test_a_cookie_tells_nothing_of_the_token() -> None:
    gate = Gate("secret", frozenset({"127.0.0.1:1"}))
    assert "secret" not in gate.pass_ + gate.csrf + gate.cookie
    assert len({gate.pass_, gate.csrf}) == 2


async def test_nothing_is_written_by_looking(store: PgStore, reader: Reader, viewer: Viewer, url: str) -> None:
    uid = await play(store)
    watcher = await asyncpg.connect(url)
    count = (
        "SELECT (SELECT count(*) FROM audit) + (SELECT count(*) FROM playbook_audit) + (SELECT count(*) FROM playbooks)"
    )
    before = (
        await watcher.fetchval(count),
        await watcher.fetchval("SELECT md5(string_agg(s::text, '')) FROM sessions s"),
    )
    for method, path in pages(viewer):
        if method == "GET" and not path.startswith(("/live/", "/static/")):
            filled = path.replace("{id}", uid).replace("{seq}", "1").replace("{name}", "x")
            async with reader.session.get(filled) as answer:
                assert answer.status in (200, 400, 404), path
    after = await watcher.fetchval(count), await watcher.fetchval("SELECT md5(string_agg(s::text, '')) FROM sessions s")
    assert before == after
    await watcher.close()
