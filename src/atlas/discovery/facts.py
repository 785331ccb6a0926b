"""What the static scan of a project finds: nouns, and nothing of the project has run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.schema import Noun

Role = Literal["agent", "environment"]
Kind = Literal["function", "class", "object", "factory", "script"]


class Candidate(Noun):
    """Something in the project that looks like an agent or an environment."""

    role: Role
    """Which of the two."""
    kind: Kind
    """A function of a prompt; a class to be made; a ready object; a factory without arguments; a script to start."""
    file: str
    """Relative to the project, with slashes."""
    line: int
    """Where it is defined."""
    name: str
    """In its module, dotted for a method's class; empty for a script."""
    method: str | None = None
    """Which method answers, where it is neither `act` nor `__call__`."""
    framework: str | None = None
    """Whose object it is."""
    needs: tuple[str, ...] = ()
    """Constructor or function parameters without a default, beside the prompt."""
    optional: bool = False
    """Whether it has parameters with a default."""
    score: int
    """Higher is likelier."""
    why: tuple[str, ...]
    """What speaks for it, one phrase each."""

    @property
    def label(self) -> str:
        """`file:name`, as `--agent-fn` takes it."""
        return f"{self.file}:{self.name}" if self.name else self.file


class Place(Noun):
    """A named thing in a file; its text is not kept, for it may hold what nobody should store."""

    file: str
    """Relative to the project."""
    line: int
    """Where."""
    name: str
    """As the code calls it."""


class Skipped(Noun):
    """A file that was not read."""

    file: str
    """Relative to the project."""
    reason: str
    """One phrase."""


class Scan(Noun):
    """The project as its sources tell it."""

    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file that was read, by its path."""
    skipped: tuple[Skipped, ...] = ()
    """Files that were not read, and why."""
    frameworks: tuple[str, ...] = ()
    """Libraries of agents and models that are imported, by the name of their module."""
    candidates: tuple[Candidate, ...] = ()
    """Agents and environments, the likeliest first."""
    prompts: tuple[Place, ...] = ()
    """System prompts and instructions."""
    tools: tuple[Place, ...] = ()
    """Functions that are marked as tools."""
    models: tuple[str, ...] = ()
    """Names of models in the code."""
    keys: tuple[str, ...] = ()
    """Environment variables with keys that the code reads, or that its libraries read by default."""

    def best(self, role: Role) -> Candidate | None:
        """The likeliest candidate; None where there is none."""
        return next((each for each in self.candidates if each.role == role), None)
