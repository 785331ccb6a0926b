"""Which session a call belongs to: by what its client says, else by the conversation that it goes on with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

from atlas.schema import Message, Noun


class Labels(Noun):
    """What a client says about where its call belongs."""

    session: str | None = None
    """Its own name of the session; it alone decides."""
    others: tuple[str, ...] = ()
    """Trace, earlier response, conversation: each decides where it is known."""

    @property
    def every(self) -> tuple[str, ...]:
        """All of them, as keys that cannot be confused with one another."""
        own = () if self.session is None else (f"session {self.session}",)
        return (*own, *self.others)


class Place(Protocol):
    """A session that waits for a further call."""

    @property
    def heard(self) -> tuple[Message, ...]:
        """The conversation of its last call."""
        ...

    @property
    def said(self) -> Message | None:
        """The last reply; None where the last call had none."""
        ...


class Grouping:
    """Finds the session of a call. Sessions are told apart by the whole conversation, never by a part of it."""

    def __init__(self) -> None:
        self._by_label: dict[str, Place] = {}
        self._by_conversation: dict[int, list[Place]] = defaultdict(list)
        self._known_as: dict[int, tuple[set[str], int | None]] = {}

    def find(self, labels: Labels, heard: Sequence[Message]) -> Place | None:
        """The open session that this call goes on with, if there is one."""
        if labels.session is not None:
            return self._by_label.get(f"session {labels.session}")
        known = (self._by_label[label] for label in labels.others if label in self._by_label)
        return next(known, None) or self._by_prefix(heard)

    def name(self, place: Place, labels: Labels) -> None:
        """The session is known by these labels too."""
        names, _ = self._known_as.setdefault(id(place), (set[str](), None))
        names.update(labels.every)
        for label in labels.every:
            self._by_label[label] = place

    def keep(self, place: Place) -> None:
        """Note where the session's conversation stands now."""
        names, before = self._known_as.get(id(place), (set[str](), None))
        mark = list(_marks(place.heard))[-1] if place.heard else None
        if mark != before:
            self._unmark(place, before)
            if mark is not None:
                self._by_conversation[mark].append(place)
        self._known_as[id(place)] = (names, mark)

    def forget(self, place: Place) -> None:
        """The session is over."""
        names, mark = self._known_as.pop(id(place), (set[str](), None))
        for label in names:
            if self._by_label.get(label) is place:
                del self._by_label[label]
        self._unmark(place, mark)

    def _unmark(self, place: Place, mark: int | None) -> None:
        if mark is None:
            return
        left = [each for each in self._by_conversation[mark] if each is not place]
        if left:
            self._by_conversation[mark] = left
        else:
            del self._by_conversation[mark]

    def _by_prefix(self, heard: Sequence[Message]) -> Place | None:
        """The session whose whole last conversation these messages begin with, the longest one first."""
        marks = list(_marks(heard))
        for length in range(len(marks), 0, -1):
            found = self._by_conversation.get(marks[length - 1], ())
            fitting = [place for place in found if place.heard == tuple(heard[:length])]
            if length == len(marks):
                fitting = [place for place in fitting if place.said is None]  # the same again, after a failure
            elif fitting:
                fitting = _going_on(fitting, heard[length])
            if fitting:
                return fitting[-1]
        return None


def _going_on(places: list[Place], following: Message) -> list[Place]:
    """Of several sessions that heard the same, those whose reply comes next; a single one even if it was reworded."""
    exact = [place for place in places if place.said is not None and _alike(place.said, following)]
    if exact or following.role != "assistant":
        return exact
    return places if len(places) == 1 else []


def _alike(said: Message, following: Message) -> bool:
    calls = [call.id for call in said.tool_calls] == [call.id for call in following.tool_calls]
    return calls and said.content.strip() == following.content.strip()


def _marks(heard: Sequence[Message]) -> Iterator[int]:
    """A hash of each beginning of a conversation."""
    mark = 0
    for message in heard:
        calls = tuple((call.id, call.name, call.arguments) for call in message.tool_calls)
        mark = hash((mark, message.role, message.content, calls, message.tool_call_id))
        yield mark
