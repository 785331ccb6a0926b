"""What was learnt: itemised playbook entries with their evidence, and the outcomes behind them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from atlas.schema.base import Noun, content_hash, now
from atlas.schema.task import Lane

Audience = Literal["student", "teacher"]
EntryState = Literal["candidate", "trial", "active", "retired", "quarantined"]


class Predicate(Noun):
    """A condition on a task; every part that is given must hold. Words are compared as a keyword is."""

    all_of: tuple[str, ...] = ()
    """Words or phrases that all occur in the prompt."""
    any_of: tuple[str, ...] = ()
    """Of these at least one occurs."""
    none_of: tuple[str, ...] = ()
    """None of these occurs."""
    field: str = ""
    """A key of the task's payload; dots reach into objects. Empty: the payload is not looked at."""
    op: Literal["is", "is_not", "at_least", "at_most", "contains", "exists"] = "exists"
    """How the field is compared with `value`; a field that is missing or of another type does not hold."""
    value: str | float | bool | None = None
    """What it is compared with."""


class Cue(Noun):
    """When an entry applies. Data that is compared, never code or a regex that runs."""

    kind: Literal["keyword", "always", "predicate"] = "keyword"
    """`keyword`: the words occur in the task; `always`: every task of the key; `predicate`: what `when` says."""
    text: str = ""
    """The keyword or phrase, compared case-insensitively on word boundaries; for a predicate its name in the prompt."""
    when: Predicate | None = None
    """The condition of a predicate."""

    @model_validator(mode="after")
    def _has_its_condition(self) -> Cue:
        if (self.kind == "predicate") != (self.when is not None):
            raise ValueError("a cue of kind predicate has a condition in `when`, and no other has")
        return self


class Provenance(Noun):
    """Where an entry came from."""

    sessions: tuple[str, ...] = ()
    """Sessions it was learnt from."""
    author: str = ""
    """The model or person that wrote it."""
    reward_source: str = "none"
    """Which evidence rewarded those sessions: check, judges, arbiter, human."""
    verdicts: tuple[str, ...] = ()
    """The judges whose verdicts rewarded them."""
    lineage: tuple[str, ...] = ()
    """Where it came from before, oldest first: `key@version` of a playbook, or the name of an imported file."""


class Evidence(Noun):
    """What has been measured about an entry since it entered trial."""

    n_with: int = 0
    """Matched sessions that saw the entry."""
    successes_with: float = 0.0
    """Sum of their rewards."""
    n_without: int = 0
    """Matched sessions held out at random."""
    successes_without: float = 0.0
    """Sum of their rewards."""
    log_e_help: float = 0.0
    """Natural log of the e-value against 'the entry does not help'."""
    log_e_harm: float = 0.0
    """Natural log of the e-value against 'the entry does no harm'."""
    failures_with: int = 0
    """Sessions that saw the entry and failed."""
    failures_in_row: int = 0
    """Of those the newest ones, without a success between them."""
    pairs: int = 0
    """Tasks that were done both with and without it."""
    pair_gain: float = 0.0
    """Sum over them of the reward with it less the reward without it."""
    pair_square: float = 0.0
    """Sum of the squares of these differences."""
    refuted: int = 0
    """Sessions in which it was shown, failed, and something else was verified to be right."""


class Entry(Noun):
    """One lesson: cue -> action."""

    id: str
    """Stable across versions."""
    audience: Audience
    """Who reads it."""
    cue: Cue
    """When it applies."""
    action: str
    """What to do then, as an imperative."""
    expected_effect: str = ""
    """What should become better."""
    provenance: Provenance = Provenance()
    """Where it came from."""
    trust: float = Field(default=0.5, ge=0.0, le=1.0)
    """The minimum over its lineage."""
    state: EntryState = "candidate"
    """Only trial and active entries reach a prompt."""
    reason: str = ""
    """Why it is in this state, in one sentence."""
    evidence: Evidence = Evidence()
    """What has been measured about it."""


class Playbook(Noun):
    """What was learnt for one tenant, key and audience. Immutable: a change is a new version."""

    key: str
    """The learning key."""
    tenant: str = "default"
    """Owner."""
    audience: Audience
    """Who reads it."""
    version: int = 0
    """0 is the empty playbook; each commit adds one."""
    entries: tuple[Entry, ...] = ()
    """All entries, also the retired ones."""
    created_at: datetime = Field(default_factory=now)
    """When this version was written (UTC)."""
    origin: str = ""
    """Why there is this version: the session it was learnt from, a rollback, an import, a review."""
    since: int = 0
    """The version from which on the same lessons have acted; 0 while none does."""
    evidence: Evidence = Evidence()
    """What has been measured since then about all its lessons together: sessions that saw every matching one of them,
    against sessions that saw none."""

    @property
    def acting(self) -> tuple[Entry, ...]:
        """The entries that may reach a prompt."""
        return tuple(entry for entry in self.entries if entry.state in ("trial", "active"))

    @property
    def identity(self) -> str:
        """Content hash over the entries."""
        return content_hash(*(entry.model_dump_json() for entry in self.entries))


class Recalled(Noun):
    """What of a playbook a session got to see, pinned."""

    audience: Audience
    """Who saw it."""
    version: int
    """The playbook's version."""
    shown: tuple[Entry, ...] = ()
    """Entries in the prompt, at most three by default."""
    held_out: tuple[str, ...] = ()
    """Ids of matching entries withheld at random, as the control arm."""
    propensities: tuple[tuple[str, float], ...] = ()
    """(entry id, probability of being shown) of every matching entry."""
    compared: str | None = None
    """Id of the entry whose effect this session measures by doing the task once more without it, or with it where it
    was withheld; chosen before the session by the evidence so far."""
    against: int | None = None
    """The version whose lessons the task is done with once more, where two versions are compared."""

    @property
    def arms(self) -> tuple[str, ...]:
        """What became of each matching entry: its id where it was shown, `-id` where it was withheld."""
        return (*(entry.id for entry in self.shown), *(f"-{entry_id}" for entry_id in self.held_out))


class Outcome(Noun):
    """How one earlier session ended, as the router reads it."""

    lane: Lane
    """The lane it ran in."""
    reward: float | None
    """Its reward; None when none was given."""
    first_try: bool | None
    """Whether the student's first attempt stood; None when unknown."""
    playbook_version: int = 0
    """Version of the student's playbook it ran with."""
    arms: tuple[str, ...] = ()
    """`Recalled.arms` of the student's playbook: sessions with the same arms are alike to the router."""
    task: str = ""
    """MD5 of the task's words as they are stored: tells the same task again."""
    policy: str = ""
    """Which models served."""
    at: datetime
    """When it finished (UTC)."""


class Background(Noun):
    """What the store knows before a session of one tenant and key, read in one round trip."""

    student: Playbook
    """The student's newest playbook."""
    teacher: Playbook
    """The teacher's newest playbook."""
    outcomes: tuple[Outcome, ...] = ()
    """The most recent outcomes of the key, newest first."""
