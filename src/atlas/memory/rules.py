"""When a lesson may act, as numbers a user can set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.evidence import SUCCESS
from atlas.schema import Noun


class MemoryRules(Noun):
    """What is recalled, and what an entry must show to enter, to stay and to go."""

    gate: Literal["verified", "replay", "review"] = "verified"
    """verified: a lesson enters trial by itself only when an executed check says that guidance turned a failure of its
    session into success, and it says what that guidance said; replay: only when it passed the flip gate on stored
    tasks; review: never. All others wait as candidates for a person."""
    max_shown: int = Field(default=3, ge=0)
    """Entries in one prompt; 0 shows none."""
    max_tokens: int = Field(default=200, ge=0)
    """Tokens of all entries in one prompt, by estimate."""
    holdout_trial: float = Field(default=0.2, ge=0, lt=1)
    """Share of matching sessions from which an entry in trial is withheld at random, as its control."""
    holdout_active: float = Field(default=0.05, ge=0, lt=1)
    """The same for an active entry."""
    compares: bool = False
    """Whether a task that matches an entry in doubt is done once more without it (or with it, where it was withheld),
    after the answer: the effect shows in about a quarter of the sessions."""
    promote_e: float = Field(default=20.0, gt=1)
    """E-value for help at which a trial becomes active: 20 errs in at most one of 20 useless entries, ever."""
    promotion: Literal["each", "fdr"] = "each"
    """each: an entry becomes active when its own e-value for help reaches `promote_e`; fdr: when it is among those that
    e-BH finds over all measured entries of the playbook, so that of all active ones few are false."""
    promote_after: int | None = Field(default=None, ge=1)
    """Policy without a control arm: so many sessions saw the entry and none failed. None: evidence only."""
    harm_e: float = Field(default=20.0, gt=1)
    """E-value for harm at which an entry is quarantined."""
    streak_chance: float = Field(default=1e-4, gt=0, lt=1)
    """An entry is retired when the newest sessions that saw it all failed and its own earlier record gives such a run a
    smaller chance than this."""
    rent_period: int = Field(default=200, ge=10)
    """Matched sessions after which, again and again, an entry must have paid its rent."""
    success_worth: int = Field(default=2000, ge=1)
    """Tokens that one more success is worth: an entry of 20 tokens must lift the reward by 0.01."""
    min_lift: float = Field(default=0.01, ge=-1, le=1)
    """Lift of the reward that every entry must show, however short it is."""
    learn_below: float = Field(default=SUCCESS, ge=0, le=1)
    """The curator is asked about a session with a smaller reward, or whose first try did not stand."""
    updates: bool = True
    """Off: playbooks are recalled and never changed."""
    max_entries: int = Field(default=200, ge=1)
    """Entries of one playbook; the oldest retired ones and candidates make room, then new ones are refused."""
