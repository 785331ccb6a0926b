"""Playbooks as files: JSON with everything, SKILL.md and AGENTS.md with what acts. What comes in is a candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from pydantic import ValidationError

from atlas.memory.merge import entry_id
from atlas.memory.text import MAX_ACTION, MAX_CUE, plain_line
from atlas.schema import Audience, Cue, Entry, Noun, Playbook, Predicate, Provenance
from atlas.schema.errors import ConfigError

Format = Literal["json", "skill", "agents"]
IMPORT_TRUST = 0.3
"""Trust in an imported lesson at most; its own is taken where it is smaller."""
MAX_LESSONS = 200
"""Of one file."""
_MARK = "<!-- atlas playbook"
_END = "<!-- end of atlas playbook -->"
_BULLETS = ("- ", "* ", "+ ")


class Lessons(Noun):
    """What a file holds."""

    entries: tuple[Entry, ...]
    """Its lessons, as candidates."""
    refused: tuple[str, ...] = ()
    """What was left out and why, one line each."""


def exported(playbook: Playbook, form: Format) -> str:
    """The playbook as a file's text."""
    match form:
        case "json":
            return playbook.model_dump_json(indent=2) + "\n"
        case "skill":
            return "\n".join(_skill(playbook)) + "\n"
        case "agents":
            return "\n".join(_section(playbook)) + "\n"


def _skill(playbook: Playbook) -> Iterator[str]:
    name = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in playbook.key.lower())
    yield "---"
    yield f"name: {name.strip('-')[:64] or 'lessons'}"
    yield f"description: {json.dumps(f'Lessons that were learnt and measured on tasks of {playbook.key}.')}"
    yield "---"
    yield ""
    yield from _section(playbook)


def _section(playbook: Playbook) -> Iterator[str]:
    yield f"{_MARK} {json.dumps(playbook.key)} version {playbook.version} -->"
    yield f"## Lessons of {playbook.key}"
    yield ""
    for entry in sorted(playbook.acting, key=lambda one: one.id):
        cue = "" if entry.cue.kind == "always" else f"**{_escaped(entry.cue.text)}**: "
        yield f"- {cue}{_escaped(entry.action)}"
    yield ""
    yield _END


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("*", "\\*")


def _unescaped(text: str) -> str:
    return text.replace("\\*", "*").replace("\\\\", "\\")


def read_lessons(text: str, *, audience: Audience, name: str, who: str) -> Lessons:
    """The lessons of a file that somebody brings, cleaned at the door as a curator's are.

    `name` is the file's name and `who` brings it; both stand in the provenance. Nothing a file says makes a lesson act.

    Raises:
        ConfigError: it is neither a playbook's JSON nor a Markdown file with a list of lessons.
    """
    found = list(_json(text, name) if text.lstrip().startswith("{") else _markdown(text))
    entries: list[Entry] = []
    refused: list[str] = []
    for told in found[:MAX_LESSONS]:
        try:
            entries.append(_candidate(told, audience, name, who))
        except ValueError as error:
            refused.append(_cause(told, error))
    if len(found) > MAX_LESSONS:
        refused.append(f"{len(found) - MAX_LESSONS} lessons beyond the first {MAX_LESSONS}")
    if not entries:
        raise ConfigError(
            f"{name} holds no lesson.", refused[0] if refused else "A lesson is a list item: - **cue**: action"
        )
    return Lessons(entries=tuple({entry.id: entry for entry in entries}.values()), refused=tuple(refused))


class _Told(Noun):
    """A lesson as a file tells it."""

    cue: Cue
    action: str
    expected_effect: str = ""
    trust: float = IMPORT_TRUST
    lineage: tuple[str, ...] = ()


def _json(text: str, name: str) -> Iterator[_Told]:
    try:
        playbook = Playbook.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise ConfigError(
            f"{name} is no playbook: {where}: {fault['msg']}.", "Write one with: atlas playbook export"
        ) from error
    here = f"{playbook.key}@{playbook.version}"
    for entry in playbook.entries:
        if entry.state not in ("quarantined", "retired"):
            lineage = (*entry.provenance.lineage, here)
            yield _Told(
                cue=entry.cue,
                action=entry.action,
                expected_effect=entry.expected_effect,
                trust=entry.trust,
                lineage=lineage,
            )


def _markdown(text: str) -> Iterator[_Told]:
    """List items of our own section where there is one, else of the whole file."""
    body = text
    if _MARK in text:
        body = text.split(_MARK, 1)[1].split(_END, 1)[0]
    elif text.startswith("---\n") and "\n---" in text[4:]:
        body = text[4:].split("\n---", 1)[1]
    for line in body.splitlines():
        item = line.strip()
        if not item.startswith(_BULLETS):
            continue
        item = item[2:].strip()
        if item.startswith("**") and "**:" in item:
            cue, action = item[2:].split("**:", 1)
            yield _Told(cue=Cue(text=_unescaped(cue)), action=_unescaped(action))
        else:
            yield _Told(cue=Cue(kind="always"), action=_unescaped(item))


def _candidate(told: _Told, audience: Audience, name: str, who: str) -> Entry:
    cue, action = _clean_cue(told.cue), plain_line(told.action, MAX_ACTION)
    if not any(letter.isalnum() for letter in action):
        raise ValueError("the action is empty")
    lineage = tuple(plain_line(step, MAX_ACTION) for step in told.lineage[-20:])
    return Entry(
        id=entry_id(audience, cue, action),
        audience=audience,
        cue=cue,
        action=action,
        expected_effect=plain_line(told.expected_effect, MAX_ACTION),
        provenance=Provenance(author=who, lineage=(*lineage, f"file {name}")),
        trust=min(told.trust, IMPORT_TRUST),
        state="candidate",
        reason=f"imported from {name}; waits for review",
    )


def _clean_cue(cue: Cue) -> Cue:
    text = plain_line(cue.text, MAX_CUE)
    if cue.kind == "keyword" and not any(letter.isalnum() for letter in text):
        raise ValueError("the cue is empty")
    if cue.when is None:
        return Cue(kind=cue.kind, text=text)
    cleaned = {
        field: [plain_line(words, MAX_CUE) for words in getattr(cue.when, field)]
        for field in ("all_of", "any_of", "none_of")
    }
    return Cue(kind="predicate", text=text, when=Predicate.model_validate({**cue.when.model_dump(), **cleaned}))


def _cause(told: _Told, error: ValueError) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in told.action[:60])
    return f"{shown!r}: {error}"
