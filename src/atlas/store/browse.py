"""What pages show of sessions and their events: small typed reads, each bounded however much is stored."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.schema.errors import ConfigError
from atlas.store.browsed import COUNTED, Filters, ListedSession, SeenEvent, SessionHead, Spent, Tally
from atlas.store.database import Database
from atlas.store.mark import Mark
from atlas.store.pooling import ESC, Bodies, escape, unescape
from atlas.store.review import drift_of, find

PLANNED_ANEW: Mapping[str, str] = {"plan_cache_mode": "force_custom_plan"}
"""Server settings of a connection that browses: a filter that is not given must cost nothing."""
SHOWN_CHARS = 200_000
"""Characters of one event's body that a window shows; a longer one is shown alone."""
WHOLE_CHARS = 20_000_000
"""Characters of an event that is shown alone."""
LEFT_OUT = "[a text of more than 4,000,000 characters]"
_REFERENCE = re.compile(ESC + "r([0-9]+):([^;]*);")


class Browser:
    """Reads for pages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sessions(self, filters: Filters, *, below: Mark | None = None, limit: int = 50) -> list[ListedSession]:
        """Sessions that pass, newest first, from below a mark."""
        mark = below or Mark()
        wanted = (filters.status, filters.lane, _stored(filters.key), _stored(filters.tenant), filters.review)
        numbers = (filters.min_reward, filters.max_reward, filters.min_cost, filters.max_cost)
        rest = (filters.since, filters.until, _like(filters.text))
        rows = await self._database.rows(
            "browse_sessions", mark.at, mark.uid, limit, *wanted, filters.drift, *numbers, *rest
        )
        return [ListedSession(**_listed(row)) for row in rows]

    async def tally(self) -> Tally:
        """How many sessions run, wait for review, and are there."""
        return Tally(**(await self._database.rows("browse_tally", COUNTED))[0])

    async def session(self, session_id: str) -> SessionHead:
        """One session without its events, by its id, a unique beginning of it, or its number.

        Raises:
            ConfigError: there is none.
            StoreError: several begin so.
        """
        rows = await self._database.rows("browse_session", await find(self._database, session_id))
        if not rows:
            raise ConfigError(f"There is no session {session_id[:64]}.", "It was just deleted.")
        return _head(rows[0])

    async def window(
        self,
        session_id: uuid.UUID,
        *,
        after: int = 0,
        until: int = 2**31 - 1,
        limit: int = 60,
        types: Sequence[str] | None = None,
    ) -> list[SeenEvent]:
        """Events `after` < seq <= `until`, at most `limit`. A model's call comes without its request: `asked` counts
        the messages of it."""
        wanted = None if types is None else list(types)
        rows = await self._database.rows("browse_events", session_id, after, until, limit, SHOWN_CHARS, True, wanted)
        return await self._seen(session_id, rows)

    async def event(self, session_id: uuid.UUID, seq: int) -> SeenEvent | None:
        """One event, whole."""
        rows = await self._database.rows("browse_events", session_id, seq - 1, seq, 1, WHOLE_CHARS, False, None)
        found = await self._seen(session_id, rows)
        return found[0] if found else None

    async def usage(self, session_id: uuid.UUID) -> list[Spent]:
        """What each role used for each purpose, in the order in which they first appear."""
        rows = await self._database.rows("browse_usage", session_id)
        return [Spent(**row) for row in rows]

    async def _seen(self, session_id: uuid.UUID, rows: Sequence[Any]) -> list[SeenEvent]:
        """The rows with the texts that they refer to."""
        shown = {-int(row["seq"]): str(row["body"]) for row in rows if row["body"] is not None}
        bodies = Bodies(shown | await self._referred(session_id, list(shown.values())))
        return [
            SeenEvent(
                stored_bytes=row["size"],
                body=bodies.body(-row["seq"]) if row["body"] is not None else None,
                name=None if row["name"] is None else unescape(row["name"]),
                **{field: row[field] for field in _EVENT},
            )
            for row in rows
        ]

    async def _referred(self, session_id: uuid.UUID, fresh: list[str]) -> dict[int, str]:
        """Of the events that these bodies refer to, the texts that are meant and no others, as JSON by number.

        A call's prompt refers to most of what came before it: whole events would bring the whole session.
        """
        found: dict[int, dict[str, Any]] = {}
        known: set[tuple[int, str]] = set()
        while fresh:
            wanted = {(int(seq), path) for body in fresh for seq, path in _REFERENCE.findall(body)} - known
            pairs = ([seq for seq, _ in wanted], [path for _, path in wanted])
            rows = await self._database.rows("browse_texts", session_id, *pairs) if wanted else []
            known |= wanted
            fresh = [str(row["text"]) for row in rows if row["text"] is not None]
            for row in rows:
                _put(found.setdefault(row["seq"], {}), row["path"].split("/"), row["text"])
        return {seq: json.dumps(tree) for seq, tree in found.items()}


def _put(tree: dict[str, Any], path: list[str], text: str | None) -> None:
    """Set the text at a path; a list's places become keys."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = LEFT_OUT if text is None else text


_EVENT = ("seq", "at", "type", "actor", "step", "attempt", "duration_s", "tokens", "cost_usd")


def _stored(text: str | None) -> str | None:
    return None if text is None else escape(text)


def _like(text: str | None) -> str | None:
    """A pattern for texts that contain these words."""
    return None if text is None else "%" + re.sub(r"([%_\\])", r"\\\1", escape(text)) + "%"


def _listed(row: Any) -> dict[str, Any]:
    same = ("status", "lane", "accepted", "tokens", "cost_usd", "created_at", "completed_at")
    return {field: row[field] for field in same} | {
        "id": str(row["uid"]),
        "prompt": unescape(row["task"]),
        "key": unescape(row["learning_key"]),
        "tenant": unescape(row["tenant"]),
        "reward": row["reward_value"],
        "review": row["review_status"],
        "drift": row.get("drift"),
    }


def _head(row: Any) -> SessionHead:
    finding = None if row["drift"] is None else drift_of(row["drift"])
    said = (row["final_answer"], row["review_by"], row["review_notes"])
    answer, by, note = (None if text is None else unescape(text) for text in said)
    return SessionHead.model_validate(
        {
            **_listed(row),
            "drift": finding.alert if finding else None,
            "number": row["id"],
            "prompt_length": row["task_length"],
            "answer": answer,
            "policy": unescape(row["policy"]),
            "playbook_version": row["playbook_version"],
            "review_by": by,
            "review_at": row["review_at"],
            "review_note": note,
            "finding": finding,
            "last_seq": row["last_seq"],
        }
    )
