"""Text stays text: with any of 300 attacks in every field, a page has the elements of a harmless one and no others."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from viewer_attacks import PAYLOADS
from viewer_kit import Reader, entry, events_of, put, told

from atlas.schema import Body, Playbook, Provenance, new_id
from atlas.schema.events import SessionStarted
from atlas.store.postgres import PgStore

TABS = ("/attempts", "/judgement", "/memory", "/cost", "/training", "/review", "/events", "/events/1", "/events/8")


class Skeleton(HTMLParser):
    """The elements of a page with the names of their attributes; marks of invisible characters are left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._ghost = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._ghost = ("class", "ghost") in attrs
        if not self._ghost:
            self.found.append(f"{tag} {' '.join(sorted(name for name, _ in attrs))}")

    def handle_endtag(self, tag: str) -> None:
        if not self._ghost:
            self.found.append(f"/{tag}")
        self._ghost = False

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")


def attacked(text: str) -> list[Body]:
    """A session with the text in every field, its key, owner and policy included."""
    bodies = told(text, text=text)
    start = bodies[0]
    assert isinstance(start, SessionStarted)
    task = start.task.model_copy(update={"learning_key": name_of(text), "tenant": name_of(text)})
    return [start.model_copy(update={"task": task, "policy": text}), *bodies[1:]]


def name_of(text: str) -> str:
    """The text as a key or an owner: short, as such names are."""
    return text[:64]


async def stored(store: PgStore, text: str) -> str:
    events = events_of(attacked(text))
    where = {"tenant": name_of(text), "key": name_of(text), "audience": "student"}
    lesson = entry(text, state="candidate", provenance=Provenance(sessions=(events[0].session_id,), author=text))
    return await put(store, events, Playbook(**where, version=1, entries=(lesson,)))


async def test_no_field_of_any_page_takes_markup(store: PgStore, reader: Reader) -> None:
    harmless = "xylophone" * 4
    base = await stored(store, harmless)
    expected = {tab: Skeleton(await reader.page(f"/sessions/{base}{tab}")).found for tab in ("", *TABS)}
    for number, payload in enumerate(PAYLOADS):
        uid = await stored(store, payload)
        for tab in ("", TABS[number // 2 % len(TABS)]) if number % 2 else ("",):
            text = await reader.page(f"/sessions/{uid}{tab}")
            assert Skeleton(text).found == expected[tab], (tab, payload)
    where = {"tenant": harmless, "key": harmless}
    book = Skeleton(await reader.page("/playbook", **where, audience="student")).found
    key = Skeleton(await reader.page("/learning", **where)).found
    for payload in PAYLOADS[::7]:
        where = {"tenant": name_of(payload), "key": name_of(payload)}
        assert Skeleton(await reader.page("/playbook", **where, audience="student")).found == book, payload
        assert Skeleton(await reader.page("/learning", **where)).found == key, payload
        asked = Skeleton(await reader.page("/sessions", text=payload, key=payload, tenant="nobody")).found
        assert asked == Skeleton(await reader.page("/sessions", text="x", key="x", tenant="nobody")).found, payload


async def test_lists_take_no_markup(store: PgStore, reader: Reader) -> None:
    for payload in PAYLOADS[::15]:
        await stored(store, payload)
    for path in ("/sessions", "/review", "/review/lessons", "/playbooks", "/learning", "/training"):
        text = await reader.page(path)
        tags = {line.split(" ")[0] for line in Skeleton(text).found}
        assert not tags & {"iframe", "object", "embed", "style", "base", "math", "video", "comment", "marquee"}, path
        assert text.count("<script") == 3, path
    live = await reader.session.get("/live/sessions")
    while not (line := (await live.content.readline()).decode()).startswith("data:"):
        pass
    drawn = "".join(row["html"] for row in json.loads(line[5:]))
    assert not {one.split(" ")[0] for one in Skeleton(drawn).found} - {
        "li",
        "/li",
        "a",
        "/a",
        "span",
        "/span",
        "meter",
        "/meter",
        "time",
        "/time",
    }
    live.close()


async def test_an_address_with_markup_is_shown_as_text(reader: Reader) -> None:
    for payload in PAYLOADS[::11]:
        text = await reader.page(f"/sessions/{new_id()}", expect=404, x=payload)
        assert payload not in text
        for field in ("status", "below", "min_reward"):
            assert payload not in await reader.page("/sessions", expect=400, **{field: payload})
