"""What the pages say, read over HTTP as a browser does."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from viewer_kit import Reader, events_of, play, put, told

from atlas.schema import Attempt, new_id, now
from atlas.schema.events import Answered, Attempted, Finished, Rewarded, Routed, SessionStarted
from atlas.schema.judgement import Reward
from atlas.schema.task import Route, Task
from atlas.store.postgres import PgStore

TABS = ("", "/attempts", "/judgement", "/memory", "/cost", "/review", "/events", "/events/5")


def short(prompt: str, *, lane: str = "auto", status: str = "succeeded", reward: float | None = 0.9) -> list:
    return [
        SessionStarted(task=Task(prompt=prompt, learning_key=f"key-{lane}")),
        Routed(route=Route.model_validate({"lane": lane})),
        Attempted(attempt=Attempt(output=f"the answer to {prompt}")),
        Answered(answer=f"the answer to {prompt}"),
        Finished.model_validate({"status": status}),
        Rewarded(reward=Reward(value=reward, source="check" if reward is not None else "none")),
    ]


async def test_an_empty_store_says_what_to_do(reader: Reader) -> None:
    assert "atlas run --task" in await reader.page("/sessions")


@pytest.mark.parametrize("tab", TABS)
async def test_a_session_shows_every_part(store: PgStore, reader: Reader, tab: str) -> None:
    uid = await play(store, "Where is order 7?", text="the parcel is on its way")
    text = await reader.page(f"/sessions/{uid}{tab}")
    assert "Where is order 7?" in text
    assert (await reader.json(f"/sessions/{uid}{tab}"))["head"]["id"] == uid


async def test_the_conversation_is_in_order_and_says_who_spoke(store: PgStore, reader: Reader) -> None:
    uid = await play(store, text="the parcel is on its way")
    moments = (await reader.json(f"/sessions/{uid}"))["moments"]
    assert [moment["seq"] for moment in moments] == list(range(1, len(told()) + 1))
    said = {moment["voice"] for moment in moments}
    assert said == {"student", "teacher", "tool", "judge", "atlas"}
    rejected = next(moment for moment in moments if "not accepted" in moment["title"])
    assert (rejected["voice"], rejected["text"], rejected["tone"]) == ("teacher", "the parcel is on its way", "bad")


async def test_attempts_stand_side_by_side_with_what_changed(store: PgStore, reader: Reader) -> None:
    uid = await play(store, text="word")
    steps = (await reader.json(f"/sessions/{uid}/attempts"))["work"]["steps"]
    first, second = steps[0]["tries"]
    assert (first["value"], second["value"], first["review"]["accepted"]) == (0.0, 1.0, False)
    assert [(piece["kind"], piece["text"]) for piece in second["change"]] == [
        ("gone", "first"),
        ("new", "second"),
        ("same", " word"),
    ]


async def test_a_prompt_is_shown_whole_on_the_page_of_its_event(store: PgStore, reader: Reader) -> None:
    """Long texts are stored once and referred to; the page of one event shows what was sent."""
    text = "a long text that several events of the session hold, and that is stored once only " * 3
    uid = await play(store, text=text)
    event = (await reader.json(f"/sessions/{uid}/events/13"))["event"]
    assert event["body"]["request"]["messages"][1]["content"] == text
    assert event["body"]["completion"]["message"]["content"] == text
    window = (await reader.json(f"/sessions/{uid}/events"))["events"]
    assert window[12]["body"]["asked"] == 2
    assert "request" not in window[12]["body"]


async def test_what_each_role_used(store: PgStore, reader: Reader) -> None:
    uid = await play(store)
    spent = (await reader.json(f"/sessions/{uid}/cost"))["spent"]
    student = [one for one in spent if one["actor"] == "student"]
    assert sum(one["prompt_tokens"] for one in student) == 200
    assert sum(one["cached_tokens"] for one in spent) == 40 * 4
    assert {one["purpose"] for one in spent} == {"plan", "step", "verify", "judge"}


async def test_the_list_is_filtered(store: PgStore, reader: Reader) -> None:
    for lane, status, reward in (("auto", "succeeded", 0.9), ("paired", "failed", 0.2), ("coach", "cancelled", None)):
        await put(store, events_of(short(f"task of {lane}", lane=lane, status=status, reward=reward)))

    async def found(**filters: str) -> set[str]:
        return {row["prompt"].split()[-1] for row in (await reader.json("/sessions", **filters))["rows"]}

    assert await found() == {"auto", "paired", "coach"}
    assert await found(status="failed") == {"paired"}
    assert await found(lane="coach") == {"coach"}
    assert await found(key="key-auto") == {"auto"}
    assert await found(min_reward="0.1", max_reward="0.5") == {"paired"}
    assert await found(text="ANSWER to task of AUTO") == {"auto"}
    assert await found(text="%") == set()
    assert await found(review="approved") == set()
    assert await found(drift="false") == {"auto", "paired", "coach"}
    assert await found(since=(now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")) == set()
    assert await found(tenant="nobody") == set()
    assert await found(status="") == {"auto", "paired", "coach"}
    for wrong in ({"status": "odd"}, {"min_reward": "much"}, {"since": "soon"}, {"below": "x.y"}):
        assert "message" in await reader.json("/sessions", expect=400, **wrong)


async def test_pages_of_the_list_show_every_session_once(store: PgStore, reader: Reader) -> None:
    start = now() - timedelta(hours=2)
    made = [await put(store, events_of(short(f"n {n}"), at=start + timedelta(seconds=n // 3))) for n in range(120)]
    seen: list[str] = []
    below: str | None = None
    while True:
        page = await reader.json("/sessions", **({"below": below} if below else {}))
        seen += [row["id"] for row in page["rows"]]
        below = page["below"]
        if below is None:
            break
    assert sorted(seen) == sorted(made)
    assert len(seen) == 120


async def test_a_new_session_arrives_by_itself(store: PgStore, reader: Reader) -> None:
    await put(store, events_of(short("the first")))
    async with reader.session.get("/live/sessions") as stream:
        assert stream.content_type == "text/event-stream"
        assert "the first" in await _next(stream)
        await put(store, events_of(short("the second")))
        news = await _next(stream)
        assert "the second" in news
        assert "the first" not in news


async def test_a_running_session_is_followed_to_its_end(store: PgStore, reader: Reader) -> None:
    events = events_of(short("a long way"))
    await store.append(events[:2])
    await store.flush()
    page = await reader.page(f"/sessions/{events[0].session_id}")
    assert "data-live-session" in page
    async with reader.session.get(f"/live/sessions/{events[0].session_id}", params={"after": "2"}) as stream:
        await store.append(events[2:])
        await store.flush()
        assert "the answer to a long way" in await _next(stream)
        assert "ended" in await _next(stream, "event: ended")


async def _next(stream, event: str = "event:") -> str:
    """The next message of a stream."""
    async with asyncio.timeout(10):
        while True:
            line = (await stream.content.readline()).decode()
            if line.startswith(event):
                name = line
                while not line.startswith("data:"):
                    line = (await stream.content.readline()).decode()
                return name if event != "event:" else json.dumps(json.loads(line[5:]))


async def test_the_beginning_of_an_id_is_enough(store: PgStore, reader: Reader) -> None:
    uid = await play(store)
    assert (await reader.json(f"/sessions/{uid[:12]}"))["head"]["id"] == uid


async def test_what_is_not_there(reader: Reader) -> None:
    for path, status in (
        (f"/sessions/{new_id()}", 404),
        ("/sessions/nonsense", 404),
        ("/sessions/%00", 404),
        ("/nowhere", 404),
    ):
        assert "message" in await reader.json(path, expect=status)


async def test_a_database_that_is_away_is_said_so(store: PgStore, reader: Reader, url: str, server: str) -> None:
    import asyncpg

    await reader.page("/sessions")
    admin = await asyncpg.connect(server)
    name = url.split("?")[0].split("/")[-1]
    await store.close()
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert "does not serve" in (await reader.json("/sessions", expect=503))["message"]
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await admin.close()
    await reader.page("/sessions")
