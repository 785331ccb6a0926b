"""Pages about learning and cost: every key with its curve, its savings, its alarms and whether it got worse."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from atlas.evidence import Interval
from atlas.store.progress import RECENT, Alarm, KeyLine, Progress
from atlas.viewer.charts import Chart, Line
from atlas.viewer.curves import NotWorse, Part, Saving, not_worse, parts, saving
from atlas.viewer.rendering import Page
from atlas.viewer.server import Refusal, answer

SHOWN = 2000
"""Sessions of a key that its curve shows."""
LOOKED_INTO = 1000
"""Of these the newest, whose events are read for roles and first tries."""
FIRST = 50
"""First sessions of a key: what later ones are compared with."""


class Keys(Page):
    """Every learning key."""

    template = "learning.html"
    keys: tuple[KeyLine, ...]
    """Among the newest sessions, the most recent first."""
    recent: int = RECENT
    """How many newest sessions these are."""


class OneKey(Page):
    """One learning key."""

    template = "curve.html"
    tenant: str
    """Its owner."""
    key: str
    """The key."""
    sessions: int
    """Sessions that are shown."""
    parts: tuple[Part, ...]
    """Its curve."""
    charts: tuple[Chart, ...]
    """The same as charts."""
    saving: Saving | None
    """Tokens against the first sessions."""
    not_worse: NotWorse | None
    """How often the end of a supervised session was worse than the student's first try."""
    looked_into: int
    """Newest sessions behind the tax and that statement."""
    alarms: tuple[Alarm, ...]
    """The newest ones."""


class Learning:
    """Pages about learning and cost."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def routes(self) -> list[web.RouteDef]:
        """See `Room.routes`."""
        return [web.get("/learning", self._learning)]

    async def _learning(self, request: web.Request) -> web.StreamResponse:
        key = request.query.get("key")
        if key is None:
            return answer(request, Keys(keys=tuple(await self._progress.keys())))
        return answer(request, await self._one(request.query.get("tenant", "default"), key))

    async def _one(self, tenant: str, key: str) -> OneKey:
        points = await self._progress.points(tenant, key, limit=SHOWN)
        if not points:
            raise Refusal(404, "This key has no finished session.", "It may still run, or belong to another owner.")
        newest = points[-LOOKED_INTO:]
        curve = parts(points, await self._progress.shares([point.uid for point in newest]))
        supervised = [point.uid for point in newest if point.lane != "auto"]
        first = await self._progress.first(tenant, key, limit=min(FIRST, max(10, len(points) // 5)))
        return OneKey(
            tenant=tenant,
            key=key,
            sessions=len(points),
            parts=curve,
            charts=charts(curve),
            saving=saving(first, points),
            not_worse=not_worse(await self._progress.tries(supervised)),
            looked_into=len(newest),
            alarms=tuple(await self._progress.alarms(tenant, key)),
        )


def charts(curve: Sequence[Part]) -> tuple[Chart, ...]:
    """The curve as charts, each part in the middle of its sessions."""
    x = tuple(part.start + part.sessions / 2 for part in curve)
    rewards = _line("mean reward", "good", [part.reward for part in curve])
    tokens = _line("mean tokens of a session", "accent", [part.tokens for part in curve])
    tax = Line(label="tokens of other roles for each of the student's", tint="teacher", values=_all(curve))
    return (
        Chart(title="Reward", axis="session", x=x, lines=(rewards,), top=1.0),
        Chart(title="Tokens", axis="session", x=x, lines=(tokens,)),
        Chart(title="Supervision tax", axis="session", x=x, lines=(tax,)),
    )


def _all(curve: Sequence[Part]) -> tuple[float | None, ...]:
    return tuple(part.tax for part in curve)


def _line(label: str, tint: str, found: Sequence[Interval | None]) -> Line:
    return Line.model_validate(
        {
            "label": label,
            "tint": tint,
            "values": tuple(one.mean if one else None for one in found),
            "low": tuple(one.low if one else None for one in found),
            "high": tuple(one.high if one else None for one in found),
        }
    )
