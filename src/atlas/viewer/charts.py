"""Charts as data: what the browser draws, and what a reader without it finds in the table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from atlas.schema import Noun

Tint = Literal["accent", "good", "teacher", "judge"]


class Line(Noun):
    """One line of a chart."""

    label: str
    """What it shows."""
    tint: Tint
    """Its colour."""
    values: tuple[float | None, ...]
    """One for each place on the axis."""
    low: tuple[float | None, ...] = ()
    """Lower ends of the band around it."""
    high: tuple[float | None, ...] = ()
    """Upper ends."""


class Chart(Noun):
    """Lines over one axis."""

    title: str
    """What it shows."""
    axis: str
    """What the places on the axis are."""
    x: tuple[float, ...]
    """The places."""
    lines: tuple[Line, ...]
    """What is drawn."""
    top: float | None = None
    """Upper end of the value axis; None: as high as needed. The lower end is 0."""
    log: bool = False
    """Whether the value axis need not begin at 0."""

    @property
    def drawn(self) -> bool:
        """Whether there is a line to draw: two values at least."""
        return any(len([value for value in line.values if value is not None]) > 1 for line in self.lines)


def thinned(values: Sequence[float], most: int = 600) -> Sequence[int]:
    """Places of at most `most` values, evenly, the last one included."""
    if len(values) <= most:
        return range(len(values))
    return sorted({round(at * (len(values) - 1) / (most - 1)) for at in range(most)})
