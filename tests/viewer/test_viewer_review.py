"""Decisions: bound to what was shown, by one reviewer at a time, with a trail, and able to be taken back."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from viewer_kit import Reader, entry, events_of, play, put, told

from atlas.schema import Attempt, Event, Playbook, now
from atlas.schema.events import Attempted
from atlas.store.postgres import PgStore


async def waiting(reader: Reader, **asked: str) -> list[dict]:
    return (await reader.json("/review", **asked))["waiting"]


async def decide(reader: Reader, decision: str, *seen: str, note: str = "") -> dict:
    reply = await reader.post(
        "/review/decide?format=json", [("decision", decision), ("note", note), *(("seen", one) for one in seen)]
    )
    return json.loads(await reply.text())


async def status(reader: Reader, uid: str) -> str:
    return (await reader.json(f"/sessions/{uid}"))["head"]["review"]


async def test_the_hash_shown_is_the_hash_approved(store: PgStore, reader: Reader) -> None:
    uid = await play(store)
    (one,) = await waiting(reader)
    assert one["session"]["id"] == uid
    assert one["session"]["answer"] == "a fine word"
    (result,) = (await decide(reader, "approved", one["seen"], note="checked"))["results"]
    assert result["done"]
    page = await reader.json(f"/sessions/{uid}/review")
    (decision,) = page["trail"]
    assert (decision["who"], decision["what"], decision["note"]) == ("ann", "approved", "checked")
    assert decision["hash"] == one["session"]["hash"] == page["hash"]
    assert await waiting(reader) == []
    assert [row["session"]["id"] for row in await waiting(reader, review="approved")] == [uid]


async def test_content_that_went_on_is_not_approved(store: PgStore, reader: Reader) -> None:
    events = events_of(told())
    uid = await put(store, events)
    (one,) = await waiting(reader)
    late = Event(session_id=uid, seq=len(events) + 1, at=now(), body=Attempted(attempt=Attempt(output="and then")))
    await store.append([late])
    await store.flush()
    (result,) = (await decide(reader, "approved", one["seen"]))["results"]
    assert not result["done"]
    assert "not what you saw" in result["problem"]
    assert await status(reader, uid) == "pending"


async def test_of_two_reviewers_the_second_is_told(store: PgStore, reader: Reader) -> None:
    uid = await play(store)
    (one,) = await waiting(reader)
    both = await asyncio.gather(*(decide(reader, word, one["seen"]) for word in ("approved", "quarantined")))
    done = [told["results"][0]["done"] for told in both]
    assert sorted(done) == [False, True]
    lost = both[done.index(False)]["results"][0]["problem"]
    won = ("approved", "quarantined")[done.index(True)]
    assert f"It is {won} by ann by now" in lost
    assert await status(reader, uid) == won


async def test_many_at_once_and_undone(store: PgStore, reader: Reader) -> None:
    uids = [await play(store, f"task {n}") for n in range(4)]
    seen = [one["seen"] for one in await waiting(reader)]
    told = await decide(reader, "quarantined", *seen)
    assert [await status(reader, uid) for uid in uids] == ["quarantined"] * 4
    undone = await decide(reader, told["before"], *(result["undo"] for result in told["results"]))
    assert all(result["done"] for result in undone["results"])
    assert [await status(reader, uid) for uid in uids] == ["pending"] * 4
    again = await decide(reader, told["before"], *(result["undo"] for result in told["results"]))
    assert not any(result["done"] for result in again["results"])


async def test_a_form_without_a_script_works(store: PgStore, reader: Reader) -> None:
    """The page of one session: the form as it stands in the page, sent as a browser sends it."""
    uid = await play(store)
    page = await reader.page(f"/sessions/{uid}/review")
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    reply = await reader.post(
        "/review/decide", [("seen", fields["seen"]), ("decision", "approved"), ("back", fields["back"])]
    )
    assert (reply.status, reply.headers["Location"]) == (303, f"/sessions/{uid}/review")
    assert "approved" in await reader.page(f"/sessions/{uid}/review")


async def test_a_secret_in_a_note_is_not_stored(store: PgStore, reader: Reader) -> None:
    uid = await play(store)
    (one,) = await waiting(reader)
    await decide(reader, "approved", one["seen"], note="tried with password=correct-horse-battery-9")
    (decision,) = (await reader.json(f"/sessions/{uid}/review"))["trail"]
    assert "tried with" in decision["note"]
    assert "correct-horse" not in decision["note"]


@pytest.mark.parametrize("csrf", ["", "0" * 64])
async def test_a_decision_needs_the_proof_of_a_page(store: PgStore, reader: Reader, csrf: str) -> None:
    uid = await play(store)
    (one,) = await waiting(reader)
    reply = await reader.post("/review/decide", [("seen", one["seen"]), ("decision", "approved")], csrf=csrf)
    assert reply.status == 403
    assert await status(reader, uid) == "pending"


async def test_nonsense_is_refused(reader: Reader) -> None:
    hash_, uid = "0" * 64, "01a20b4a-8620-7c38-8984-af1912b8b9c7"
    for fields, expected in (
        ([("decision", "approved")], 400),
        ([("decision", "odd"), ("seen", f"{uid} {hash_} pending -")], 400),
        ([("decision", "approved"), ("seen", "x")], 400),
        ([("decision", "approved"), ("seen", f"{uid} {hash_} odd -")], 400),
        ([("decision", "approved"), ("seen", f"{uid} {hash_} pending soon")], 400),
        ([("decision", "approved"), ("seen", f"{uid} {hash_} pending -")], 409),
        ([("decision", "approved"), *([("seen", f"{uid} {hash_} pending -")] * 201)], 400),
    ):
        assert (await reader.post("/review/decide", fields)).status == expected, fields


async def test_only_alarms_and_only_a_key(store: PgStore, reader: Reader) -> None:
    for _ in range(8):
        await play(store)
    odd = await play(store, reward=0.0)
    assert [one["session"]["id"] for one in await waiting(reader, alarms="1")] == [odd]
    assert await waiting(reader, key="elsewhere") == []
    assert len(await waiting(reader, key="orders")) == 9


# --- lessons


BOOK = {"tenant": "default", "key": "orders", "audience": "student"}


async def shelved(store: PgStore, *versions: tuple) -> None:
    for number, entries in enumerate(versions, start=1):
        await store.publish([Playbook(**BOOK, version=number, entries=entries)])


def form(**fields: str) -> list[tuple[str, str]]:
    return [*BOOK.items(), *fields.items()]


async def test_a_candidate_is_approved_into_trial_with_its_reviewer(store: PgStore, reader: Reader) -> None:
    lesson = entry("Use the refund tool.", state="candidate")
    await shelved(store, (lesson,))
    (one,) = (await reader.json("/review/lessons"))["waiting"]
    assert one["read"]["entry"]["id"] == lesson.id
    fields = form(entry=lesson.id, seen=one["read"]["seen"], decision="approved", note="seen twice")
    assert (await reader.post("/review/lessons/decide", fields)).status == 303
    book = await store.playbook("default", "orders", "student")
    assert (book.version, book.entries[0].state, book.entries[0].evidence.n_with) == (2, "trial", 0)
    assert book.entries[0].reason == "review: ann: seen twice"
    page = await reader.json("/playbook", **BOOK)
    assert [(deed["who"], deed["what"], deed["version"]) for deed in page["trail"]] == [("ann", "approved", 2)]
    assert (page["moves"][0]["before"], page["moves"][0]["after"]) == ("candidate", "trial")


async def test_a_candidate_that_was_replaced_meanwhile_is_not_approved(store: PgStore, reader: Reader) -> None:
    lesson = entry("Use the refund tool.", state="candidate")
    await shelved(store, (lesson,))
    (one,) = (await reader.json("/review/lessons"))["waiting"]
    replaced = lesson.model_copy(update={"action": "Send the money elsewhere."})
    await store.publish([Playbook(**BOOK, version=2, entries=(replaced,))])
    fields = form(entry=lesson.id, seen=one["read"]["seen"], decision="approved")
    reply = await reader.post("/review/lessons/decide", fields)
    assert reply.status == 409
    assert "not what you saw" in await reply.text()
    assert (await store.playbook("default", "orders", "student")).entries == (replaced,)


async def test_a_decision_survives_versions_that_sessions_bring(store: PgStore, reader: Reader) -> None:
    """Another lesson is learnt while the reviewer reads: the decision goes into the newest version."""
    lesson, other = entry("Use the refund tool.", state="candidate"), entry("Look twice.")
    await shelved(store, (lesson,))
    (one,) = (await reader.json("/review/lessons"))["waiting"]
    await store.publish([Playbook(**BOOK, version=2, entries=(lesson, other))])
    fields = form(entry=lesson.id, seen=one["read"]["seen"], decision="quarantined")
    assert (await reader.post("/review/lessons/decide", fields)).status == 303
    book = await store.playbook("default", "orders", "student")
    assert [(one.id, one.state) for one in book.entries] == [(lesson.id, "quarantined"), (other.id, "trial")]


async def test_decisions_about_many_lessons_at_once_lose_none(store: PgStore, reader: Reader) -> None:
    lessons = tuple(entry(f"Lesson {n}.", state="candidate") for n in range(4))
    await shelved(store, lessons)
    waiting = (await reader.json("/review/lessons"))["waiting"]
    csrf = await reader.csrf()
    replies = await asyncio.gather(
        *(
            reader.post(
                "/review/lessons/decide",
                form(entry=one["read"]["entry"]["id"], seen=one["read"]["seen"], decision="approved"),
                csrf=csrf,
            )
            for one in waiting
        )
    )
    assert {reply.status for reply in replies} == {303}
    book = await store.playbook("default", "orders", "student")
    assert (book.version, {one.state for one in book.entries}) == (5, {"trial"})


async def test_rollback_brings_the_old_lessons_back(store: PgStore, reader: Reader) -> None:
    good, bad = entry("Use the refund tool."), entry("Send the money elsewhere.")
    await shelved(store, (good,), (good, bad))
    page = await reader.json("/playbook", **BOOK)
    assert [(one["kind"], one["entry"]["id"]) for one in page["changes"]] == [("new", bad.id)]
    old = await reader.page("/playbook", **BOOK, version="1")
    assert "Roll back to version 1" in old
    assert (await reader.post("/playbook/rollback", form(to="1", newest="1"))).status == 409
    assert (await reader.post("/playbook/rollback", form(to="1", newest="2", note="it harms"))).status == 303
    book = await store.playbook("default", "orders", "student")
    assert (book.version, book.entries) == (3, (good,))
    page = await reader.json("/playbook", **BOOK)
    assert [(deed["what"], deed["note"]) for deed in page["trail"]] == [("rolled_back", "to version 1: it harms")]
    assert (page["moves"][0]["entry"], page["moves"][0]["after"]) == (bad.id, None)


async def test_a_lesson_is_shown_with_its_effect_and_interval(store: PgStore, reader: Reader) -> None:
    await shelved(store, (entry("Use the refund tool."),))
    (one,) = (await reader.json("/playbook", **BOOK))["entries"]
    difference = one["effect"]["difference"]
    assert difference["mean"] == pytest.approx(10 / 12 - 2 / 5)
    assert difference["low"] < difference["mean"] < difference["high"]
    assert one["effect"]["e_help"] == pytest.approx(12.18, abs=0.01)
    assert one["rent"] > 0
    assert one["since"] == 1
    text = await reader.page("/playbook", **BOOK)
    assert "rent" in text


async def test_playbooks_that_are_not_there(store: PgStore, reader: Reader) -> None:
    assert "Nothing has been learnt yet" in await reader.page("/playbooks")
    assert "message" in await reader.json("/playbook", expect=404, **BOOK)
    assert "message" in await reader.json("/playbook", expect=400, tenant="x")
    await shelved(store, (entry(),))
    assert len((await reader.json("/playbooks"))["books"]) == 1
    assert "message" in await reader.json("/playbook", expect=404, **BOOK, version="7")
    assert "message" in await reader.json("/playbook", expect=400, **BOOK, version="-1")


async def test_what_a_session_taught_is_named(store: PgStore, reader: Reader) -> None:
    events = events_of(told())
    uid = events[0].session_id
    lesson = entry("Use the refund tool.")
    source = lesson.provenance.model_copy(update={"sessions": (uid,)})
    book = Playbook(**BOOK, version=1, entries=(lesson.model_copy(update={"provenance": source}), entry("Another.")))
    await put(store, events, book)
    page = await reader.json(f"/sessions/{uid}/memory")
    assert page["learnt"]["versions"] == [["student", 1]]
    assert [one["entry"]["id"] for one in page["learnt"]["lessons"]] == [lesson.id]
    assert page["memory"]["student"]["held_out"] == ["e-other"]
