"""The learning report as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from atlas.evaluate.curves import CurvePoint, Group, LearningReport, Transfer
from atlas.evidence import Interval

WIDTH, HEIGHT, LEFT, GAP = 640, 170, 60, 46
"""Pixels of one panel, its left margin, and the space between panels."""


def markdown(report: LearningReport) -> Iterator[str]:
    """The report, line by line."""
    yield f"# Learning of tenant {_cell(report.tenant)}"
    yield ""
    yield f"{report.sessions} sessions. Success: reward of at least 0.5. Brackets are 95 % intervals."
    yield ""
    yield "## Recent sessions against those before them"
    yield ""
    yield from _table(
        ("key", "lane", "models", "recent", "baseline", "success", "before", "gain", "tokens", "before", "cost"),
        map(_group_row, report.groups),
    )
    yield ""
    yield "## Curves"
    yield ""
    for group in report.groups:
        if (group.lane, group.policy) == ("all", "all"):
            yield f"### {_cell(group.learning_key)}"
            yield ""
            yield from _table(("sessions", "success", "tokens", "cost"), map(_point_row, group.curve))
            yield ""
    for title, found in (("keys", report.between_keys), ("models", report.between_models)):
        yield f"## Transfer between {title}: first-try success with lessons, less without"
        yield ""
        yield from _matrix(found) if found else ("No lesson of a known session was used.",)
        yield ""


def svg(group: Group) -> str:
    """Success with its intervals, and tokens, over the sessions of a group, as an SVG picture."""
    top = 30
    panels = [
        _panel(group.curve, "success", top, 1.0, [(one.success.low, one.success.high) for one in group.curve]),
        _panel(group.curve, "tokens", top + HEIGHT + GAP, max((one.tokens for one in group.curve), default=1.0), []),
    ]
    height = top + 2 * HEIGHT + GAP + 40
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
    )
    title = f'<text x="{LEFT}" y="18" font-size="14">{escape(_printable(group.learning_key))}, {group.lane}</text>'
    foot = (
        f'<text x="{LEFT}" y="{height - 8}">sessions (last point: {group.curve[-1].until if group.curve else 0})</text>'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', title, *panels, foot, "</svg>", ""])


def _panel(points: Sequence[CurvePoint], name: str, top: int, most: float, band: Sequence[tuple[float, float]]) -> str:
    last = points[-1].until if points else 1

    def at(until: float, value: float) -> str:
        return f"{LEFT + WIDTH * until / last:.1f},{top + HEIGHT * (1 - value / (most or 1.0)):.1f}"

    values = [one.success.mean if name == "success" else one.tokens for one in points]
    line = " ".join(at(one.until, value) for one, value in zip(points, values, strict=True))
    parts = [
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>',
        f'<text x="6" y="{top + 12}">{most:,.4g}</text><text x="6" y="{top + HEIGHT}">0</text>',
        f'<text x="{LEFT + 6}" y="{top + 16}">{name}</text>',
    ]
    if band:
        upper = [at(one.until, high) for one, (_, high) in zip(points, band, strict=True)]
        lower = [at(one.until, low) for one, (low, _) in zip(points, band, strict=True)]
        parts.append(f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="#9ecae1" opacity="0.5"/>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#08519c" stroke-width="2"/>')
    return "\n".join(parts)


def _group_row(group: Group) -> tuple[str, ...]:
    ratio = "-" if group.tokens_ratio is None else f"x{group.tokens_ratio:.2f}"
    return (
        _cell(group.learning_key),
        group.lane,
        _cell(group.policy),
        str(group.recent.sessions),
        str(group.baseline.sessions),
        _rate(group.recent.success),
        _rate(group.baseline.success),
        _rate(group.success_gain, signed=True) if group.recent.success.n and group.baseline.success.n else "-",
        f"{group.recent.tokens.mean:,.0f} ({ratio})",
        f"{group.baseline.tokens.mean:,.0f}" if group.baseline.sessions else "-",
        _money(group.recent.cost_usd),
    )


def _point_row(point: CurvePoint) -> tuple[str, ...]:
    return str(point.until), _rate(point.success), f"{point.tokens:,.0f}", _money(point.cost_usd)


def _matrix(found: Sequence[Transfer]) -> Iterator[str]:
    used = sorted({one.used_at for one in found})
    cells = {(one.learnt_at, one.used_at): one for one in found}
    head = ("learnt at \\ used at", *map(_cell, used))
    yield from _table(head, ((_cell(at), *(_cell_of(cells.get((at, to))) for to in used)) for at in _learnt(found)))


def _learnt(found: Sequence[Transfer]) -> list[str]:
    return sorted({one.learnt_at for one in found})


def _cell_of(one: Transfer | None) -> str:
    if one is None:
        return "-"
    counts = f"{one.shown} with, {one.withheld} without"
    return f"{_rate(one.lift, signed=True)}, {counts}" if one.shown and one.withheld else counts


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _rate(found: Interval, *, signed: bool = False) -> str:
    if not found.n:
        return "-"
    form = "+.2f" if signed else ".2f"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _money(cost_usd: float | None) -> str:
    return "-" if cost_usd is None else f"${cost_usd:.4f}"


def _cell(text: str) -> str:
    """A name as one cell of a table; whoever chose it cannot break the table."""
    return escape(_printable(text), quote=False).replace("|", "\\|")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
