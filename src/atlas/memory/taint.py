"""Whose words a lesson is made of: the reviewer's guidance, or text that anybody could have put into the session.

That a check passed proves the guidance, not the lesson: a curator that believes everything may write down what the task
told it to. So a lesson enters trial by itself only if it says what the guidance said and not what the task says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from atlas.memory.text import folded, visible
from atlas.schema import Session

RUN = 4
"""Words in a row that a lesson and an untrusted text do not share by accident."""
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
"""A word, or a sign of a script that does not part them."""
_TAGS = {code: code - 0xE0000 for code in range(0xE0020, 0xE007F)}
_REVERSED = ("\u202e", "\u202d", "\u2067")


def borrowed(cue: str, action: str, session: Session) -> str | None:
    """Why a lesson must wait for a person although its session verified it; None where it may enter trial.

    At least a third of its words (the cue's aside) must come from the guidance; and with the task and the tools'
    results it may share no run of four words, no word with a digit, and no more than half of its words.
    """
    said = _words(action)
    own = set(said) - set(_words(cue)) or set(said)
    guided = {word for attempt in session.attempts for word in _words(attempt.guidance or "")}
    if len(own & guided) * 3 < len(own):
        return "the guidance that worked does not say it"
    for text in _untrusted(session):
        theirs = _words(text)
        shared = own & set(theirs)
        if len(shared) * 2 > len(own) or any(not word.isalpha() for word in shared):
            return "its words come from the task or a tool's result"
        if _runs(said) & _runs(theirs):
            return "it repeats the task or a tool's result"
    return None


def _untrusted(session: Session) -> Iterator[str]:
    """The task and what tools returned, as anybody could read them: also what is hidden in them."""
    texts = [session.task.prompt]
    texts += [use.output for attempt in session.attempts for use in attempt.tools]
    for text in texts:
        yield from _readings(text)


def _readings(text: str) -> Iterable[str]:
    """The text as it is seen, with its tag characters as the letters they stand for, and backwards where it says so."""
    yield visible(text)
    if any(letter in text for letter in _REVERSED):
        yield visible(text)[::-1]
    tagged = "".join(letter for letter in text if ord(letter) in _TAGS)
    if tagged:
        yield tagged.translate(_TAGS)


def _words(text: str) -> list[str]:
    return _WORD.findall(folded(text))


def _runs(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}
