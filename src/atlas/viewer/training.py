"""Pages about training: runs with their curves, what serves, and what a trainer reads in one session."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import cache
from pathlib import Path

from aiohttp import web

from atlas.evidence import Interval, wilson
from atlas.export import Role, Selection, StoredSession, open_reader
from atlas.models.local import POCKET
from atlas.schema import Noun
from atlas.schema.policy import Policy
from atlas.store.browse import Browser
from atlas.store.browsed import SessionHead
from atlas.store.progress import RECENT, PolicyLine, Progress
from atlas.train.encoding import Codec, Sample
from atlas.train.examples import Example, examples_of
from atlas.train.places import checkpoint_folder, serving_name
from atlas.viewer.books import Effect, effect_of
from atlas.viewer.charts import Chart
from atlas.viewer.rendering import Page
from atlas.viewer.runs import Broken, Run, charts, run_named, runs
from atlas.viewer.server import Refusal, answer

MOST_EVENTS = 5000
"""Events of a session whose training rows are shown."""
ROLES: tuple[Role, ...] = ("student", "teacher")


class Served(Noun):
    """What served, and how well."""

    line: PolicyLine
    """Its sessions."""
    reward: Interval | None
    """Mean reward with its 95 % interval, as of a success rate; None without one."""


class Deployed(Noun):
    """A checkpoint in a seat of the loop, with what was measured about it."""

    policy: Policy
    """The checkpoint."""
    effect: Effect
    """Tasks done with it against the same tasks without it."""


class TrainingPage(Page):
    """Runs and policies."""

    template = "training.html"
    runs: tuple[Run, ...]
    """Newest first."""
    broken: tuple[Broken, ...]
    """Folders that cannot be read."""
    folder: str
    """Where runs are looked for."""
    deployed: tuple[Deployed, ...]
    """Checkpoints that serve, have served, or want to, newest first."""
    served: tuple[Served, ...]
    """What served the newest sessions."""
    recent: int = RECENT
    """How many newest sessions these are."""


class RunPage(Page):
    """One run."""

    template = "run.html"
    run: Run
    """The run."""
    charts: tuple[Chart, ...]
    """Its curves."""


class Stretch(Noun):
    """A stretch of a training row."""

    text: str
    """What stands there."""
    learnt: bool
    """Whether its tokens have a weight in the loss."""
    tokens: int
    """How many there are."""


class SeenRow(Noun):
    """A training row as a trainer reads it."""

    example: Example
    """What it was made of."""
    stretches: tuple[Stretch, ...]
    """The row, token by token, in stretches of equal weight."""
    tokens: int
    """Tokens of the row."""
    learnt: int
    """Of these, those with weight 1 in the loss; the others have 0."""
    exact: bool
    """Whether the learnt tokens are the very ones that were sampled."""


class RoleRows(Noun):
    """What is learnt about one role."""

    role: Role
    """Who is trained."""
    tokenizer: str
    """The checkpoint whose tokenizer and template cut the rows."""
    rows: tuple[SeenRow, ...]
    """SFT's rows: what stood at last."""
    tries: tuple[Example, ...]
    """GRPO's tries: every one with a known value."""


class SessionTraining(Page):
    """What training would see of one session."""

    template = "session_training.html"
    tab: str = "training"
    """Which tab it is."""
    head: SessionHead
    """The session."""
    roles: tuple[RoleRows, ...]
    """By role."""
    why_not: str
    """Why it is not trained on as it stands; empty where it is."""
    trained: tuple[str, ...]
    """Runs that have learnt from it."""


class Training:
    """Pages about training."""

    def __init__(self, browser: Browser, progress: Progress, *, place: str | Path, folder: Path) -> None:
        """`place` is the database's URL or state folder; `folder` holds the runs."""
        self._browser = browser
        self._progress = progress
        self._place = place
        self._folder = folder

    def routes(self) -> list[web.RouteDef]:
        """See `Room.routes`."""
        return [
            web.get("/training", self._training),
            web.get("/training/runs/{name}", self._run),
            web.get("/sessions/{id}/training", self._session),
        ]

    async def _training(self, request: web.Request) -> web.StreamResponse:
        found, broken = await asyncio.to_thread(runs, self._folder, await self._progress.runs())
        deployed = tuple(
            Deployed(policy=policy, effect=effect_of(policy.evidence)) for policy in await self._progress.deployed()
        )
        served = tuple(
            Served(line=line, reward=wilson(line.reward, line.rewarded) if line.rewarded else None)
            for line in await self._progress.policies()
        )
        return answer(
            request,
            TrainingPage(
                runs=tuple(found), broken=tuple(broken), folder=self._folder.name, deployed=deployed, served=served
            ),
        )

    async def _run(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        run = await asyncio.to_thread(run_named, self._folder, name, await self._progress.runs())
        if run is None:
            raise Refusal(404, "There is no such run.")
        drawn = await asyncio.to_thread(charts, self._folder, run.name) if run.here else ()
        return answer(request, RunPage(run=run, charts=drawn))

    async def _session(self, request: web.Request) -> web.StreamResponse:
        head = await self._browser.session(request.match_info["id"])
        known, _ = await asyncio.to_thread(runs, self._folder, await self._progress.runs())
        trained = tuple(run.name for run in known if head.id in run.manifest.sessions)
        if head.last_seq > MOST_EVENTS:
            why = f"It has {head.last_seq:,} events; `atlas train inspect` shows the rows of such sessions."
            return answer(request, SessionTraining(head=head, roles=(), why_not=why, trained=trained))
        stored = await self._stored(head.id)
        roles = () if stored is None else await asyncio.to_thread(role_rows, stored)
        return answer(request, SessionTraining(head=head, roles=roles, why_not=why_not(head), trained=trained))

    async def _stored(self, session_id: str) -> StoredSession | None:
        """The session as exports and trainers read it."""
        wanted = Selection(ids=(session_id,), reviews=None)
        async with open_reader(self._place) as reader, aclosing(reader.sessions(wanted)) as found:
            async for stored in found:
                return stored
        return None


def why_not(head: SessionHead) -> str:
    """Why a trainer leaves a session out; empty where it does not."""
    if head.reward is None:
        return "It has no reward, and without one nothing is learnt."
    if head.review != "approved":
        return f"It is {head.review}: only approved sessions are trained on."
    return ""


def role_rows(stored: StoredSession) -> tuple[RoleRows, ...]:
    """What each role would learn from a session."""
    return tuple(_role_rows(stored, role) for role in ROLES)


def _role_rows(stored: StoredSession, role: Role) -> RoleRows:
    name = next(known for known in POCKET if role in known)
    codec = _codec(name)
    kept = list(examples_of(stored, role, take="imitate")) if stored.events else []
    tries = tuple(examples_of(stored, role, take="compare")) if stored.events else ()
    rows = tuple(_seen(sample, codec) for example in kept for sample in codec.rows(example))
    return RoleRows(role=role, tokenizer=name, rows=rows, tries=tries)


@cache
def _codec(name: str) -> Codec:
    return Codec.load(checkpoint_folder(name), name=serving_name(name))


def _seen(sample: Sample, codec: Codec) -> SeenRow:
    stretches: list[Stretch] = []
    at = 0
    for start, stop in (*sample.learn, (len(sample.ids), len(sample.ids))):
        for learnt, some in ((False, sample.ids[at:start]), (True, sample.ids[start:stop])):
            if some:
                stretches.append(Stretch(text=codec.tokenizer.decode(some), learnt=learnt, tokens=len(some)))
        at = stop
    return SeenRow(
        example=sample.example,
        stretches=tuple(stretches),
        tokens=len(sample.ids),
        learnt=sample.learnt,
        exact=sample.exact,
    )
