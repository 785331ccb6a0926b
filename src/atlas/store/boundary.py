"""The one write boundary: what goes to the spool, to the database or to the memory store passes here first."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, cast, get_args

from pydantic import BaseModel

from atlas.config import DriftConfig, RuntimeSafetyConfig
from atlas.schema import (
    Attempt,
    Body,
    Completion,
    Dossier,
    Failure,
    Message,
    Review,
    Step,
    Task,
    ToolCall,
    ToolUse,
    Verdict,
)
from atlas.schema.events import Answered
from atlas.store.pooling import Pool, plain
from atlas.store.redaction import SHORTEST, Redactor, is_secret_field, secret_values

CONTENT: Mapping[type[BaseModel], frozenset[str]] = {
    Answered: frozenset({"answer"}),
    Attempt: frozenset({"output", "guidance"}),
    Completion: frozenset({"token_ids"}),
    Dossier: frozenset({"summary", "risks", "signals"}),
    Failure: frozenset({"message"}),
    Message: frozenset({"content"}),
    Review: frozenset({"guidance"}),
    Step: frozenset({"description"}),
    Task: frozenset({"prompt", "payload"}),
    ToolCall: frozenset({"arguments"}),
    ToolUse: frozenset({"output", "error"}),
    Verdict: frozenset({"rationale", "student_note", "teacher_note"}),
}
"""What people, agents and models said; without content capture only its length and hash are stored."""
REMEMBERED = 4_000_000
"""Characters of examined texts that are remembered."""
LARGE = 100_000
"""Characters from which on a text is examined alone."""
HASH = 64
"""Characters of a content hash, which every model call has."""
_IS_HASH = re.compile(r"[0-9a-f]*").fullmatch
N = TypeVar("N", bound=BaseModel)
_TYPES = frozenset(body.model_fields["type"].default for body in get_args(get_args(Body)[0]))
"""Texts of our own that stand in every event."""
_AS_IT_IS = frozenset({int, float, bool, type(None)})


class Boundary:
    """Cleans nouns before they are written."""

    def __init__(self, redactor: Redactor | None, *, capture_content: bool = True) -> None:
        self._redactor = redactor
        self._examined: set[str] = set(_TYPES)
        self._characters = 0
        self._content: Mapping[type[BaseModel], frozenset[str]] = {} if capture_content else CONTENT

    def encoded(self, pool: Pool, seq: int, body: BaseModel) -> bytes:
        """The body of event `seq` as it may be written, in the pool's encoding.

        Only texts that no earlier event of the pool holds are examined: the others were, when they were new.
        """
        if self._content:
            return pool.encode(seq, self._noun(body))
        payload = pool.encode(seq, body)
        if self._redactor is None:
            return payload
        if not self._any_suspect(pool.fresh) and not (pool.named and any(map(is_secret_field, pool.named))):
            return payload
        clean = self.noun(body)
        return payload if clean is body else pool.encode(seq, clean)

    def noun(self, noun: N) -> N:
        """The noun as it may be written; the very same object when nothing in it had to go."""
        if self._content:
            return self._noun(noun)
        if self._redactor is None:
            return noun
        texts: list[str] = []
        if _collect(noun, texts) or self._any_suspect(texts):
            return self._noun(noun)
        return noun

    def _any_suspect(self, texts: list[str]) -> bool:
        """Whether one of the texts may hold a secret; most are examined together, which is much quicker."""
        known = self._examined
        fresh = [text for text in texts if text not in known]
        if not fresh:
            return False
        redactor = cast("Redactor", self._redactor)
        size = sum(map(len, fresh))
        hashes = [text for text in fresh if len(text) == HASH and _IS_HASH(text)]
        together = fresh
        if hashes or size > LARGE:
            together = [text for text in fresh if text not in hashes and len(text) < LARGE]
        if redactor.suspects("\n".join(together), "\n".join(hashes)):
            return True
        if size > LARGE and any(redactor.suspects(text) for text in fresh if len(text) >= LARGE):
            return True
        self._remember(fresh, size)
        return False

    def _remember(self, texts: list[str], size: int) -> None:
        """Texts without a secret, which often come again: an answer stands in several events of its session."""
        self._characters += size
        if self._characters > REMEMBERED:
            self._examined = set(_TYPES)
            self._characters = size
        self._examined.update(texts)

    def text(self, text: str) -> str:
        """A text as it may be written, or as it was written where it is looked for."""
        return self._redactor.clean(text) if self._redactor else text

    def _noun(self, noun: N) -> N:
        hidden = self._content.get(type(noun), frozenset())
        fields = {
            name: _withheld(value) if name in hidden else self._value(value) for name, value in noun.__dict__.items()
        }
        return noun.model_copy(update=fields)

    def _value(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case BaseModel():
                return self._noun(value)
            case dict():
                return {self._value(key): self._below(key, one) for key, one in cast("dict[Any, Any]", value).items()}
            case tuple():
                return tuple([self._value(one) for one in cast("tuple[Any, ...]", value)])
            case list():
                return [self._value(one) for one in cast("list[Any]", value)]
            case _:
                told = plain(value)
                return value if self._value(told) == told else self._value(told)

    def _below(self, key: object, value: Any) -> Any:
        if self._redactor is not None and type(key) is str and type(value) is str and value and is_secret_field(key):
            return "[redacted:field]"
        return self._value(value)


class Safety(NamedTuple):
    """What the store does for safety."""

    boundary: Boundary
    """What is cleaned before it is written."""
    drift: DriftConfig = DriftConfig()
    """When a session is called unusual."""


def safety_of(
    config: RuntimeSafetyConfig | None = None,
    *,
    secrets: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Safety:
    """What a configuration asks for; `secrets` are further variables of the environment whose values are secret."""
    safety = config or RuntimeSafetyConfig()
    asked = safety.redaction
    known = secret_values(os.environ if environ is None else environ, secrets)
    redactor = Redactor(known, extra=asked.patterns, personal=asked.personal) if asked.enabled else None
    return Safety(Boundary(redactor, capture_content=safety.capture_content), safety.drift)


def _collect(value: Any, texts: list[str]) -> bool:
    """Gather the texts of a noun that are long enough for a secret; whether a payload's key already names one."""
    kind = value.__class__
    if kind is str:
        if len(value) >= SHORTEST:
            texts.append(value)
        return False
    if kind in _AS_IT_IS:
        return False
    if kind is tuple or kind is list:
        return sum([_collect(one, texts) for one in value]) > 0
    if kind is dict:
        return _collect_mapping(value, texts)
    if isinstance(value, BaseModel):
        found = False
        for one in value.__dict__.values():
            if one.__class__ is str:
                if len(one) >= SHORTEST:
                    texts.append(one)
            elif one.__class__ not in _AS_IT_IS and one != ():
                found = _collect(one, texts) or found
        return found
    return _collect(plain(value), texts)


def _collect_mapping(mapping: dict[Any, Any], texts: list[str]) -> bool:
    found = False
    for key, value in mapping.items():
        _collect(key, texts)
        found = _collect(value, texts) or found
        found = found or (type(key) is str and type(value) is str and value != "" and is_secret_field(key))
    return found


def _withheld(value: Any) -> Any:
    """A content's length and the beginning of its SHA-256 in its place; payloads lose their texts, sequences all."""
    match value:
        case str() if value:
            digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
            return f"[withheld: {len(value)} characters, sha256 {digest[:16]}]"
        case tuple():
            return ()
        case dict():
            return {}
        case _:
            return value
