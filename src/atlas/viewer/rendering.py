"""From a page's noun to HTML or JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic_core import to_json

from atlas.schema import Noun, now
from atlas.viewer.seeing import visible

KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Page(Noun):
    """What one page shows; also its JSON."""

    template: ClassVar[str]
    """The file that lays it out."""

    @property
    def http_status(self) -> int:
        """HTTP status of the answer that holds it."""
        return 200


class Asset(Noun):
    """A file that pages load."""

    content: bytes
    """Its bytes."""
    kind: str
    """Its media type."""
    version: str
    """The beginning of its hash; part of its address, so that a browser may keep it."""


@cache
def assets() -> Mapping[str, Asset]:
    """Every file that may be asked for, by its name below /static/: nothing else is ever read from disk."""
    root = files("atlas.viewer").joinpath("static")
    found: dict[str, Asset] = {}
    for folder, prefix in ((root, ""), (root.joinpath("vendor"), "vendor/")):
        for file in folder.iterdir():
            kind = KINDS.get(file.name.rpartition(".")[2])
            if kind is not None:
                content = file.read_bytes()
                version = hashlib.sha256(content).hexdigest()[:12]
                found[prefix + file.name] = Asset(content=content, kind=kind, version=version)
    return found


@cache
def environment() -> Environment:
    """The templates. Every value is escaped; a name that is not there is an error."""
    made = Environment(
        loader=PackageLoader("atlas.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = (
        asset,
        older,
        visible,
        moment,
        clock,
        ago,
        money,
        number,
        percent,
        signed_percent,
        seconds,
        share,
        signed,
        pretty,
    )
    cast("dict[str, Any]", made.filters).update({made_by.__name__: made_by for made_by in filters})
    return made


def asset(name: str) -> str:
    """Where a file that pages load is found."""
    return f"/static/{name}?v={assets()[name].version}"


def older(query: Mapping[str, str], below: str) -> str:
    """The same question, from below a mark."""
    kept = {name: value for name, value in query.items() if value and name != "below"}
    return urlencode(kept | ({"below": below} if below else {}))


def html(page: Page, around: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """The page as HTML. `around` is what the frame needs: the path asked for, the proof for decisions."""
    text = environment().get_template(page.template).render(page=page, **around)
    return web.Response(body=text.encode("utf-8", "replace"), content_type="text/html", charset="utf-8", status=status)


def as_json(page: Noun, *, status: int = 200) -> web.Response:
    """The page as JSON. Half a surrogate pair, which UTF-8 cannot hold, is written as an escape."""
    try:
        body = to_json(page, indent=2, inf_nan_mode="strings")
    except ValueError:
        body = json.dumps(page.model_dump(), default=str, indent=2).encode()
    return web.Response(body=body, content_type="application/json", charset="utf-8", status=status)


def moment(at: datetime | None) -> str:
    """`2026-03-01 12:30:05`."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def clock(at: datetime) -> str:
    """`12:30:05.123`."""
    return f"{at.astimezone(UTC):%H:%M:%S}.{at.microsecond // 1000:03d}"


def ago(at: datetime) -> str:
    """`5 s`, `3 min`, `2 h`, `4 d` before now; from a month on the day."""
    past = (now() - at).total_seconds()
    if past > 30 * 86400:
        return f"{at.astimezone(UTC):%d %b %Y}"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if past >= size:
            return f"{int(past // size)} {unit} ago"
    return f"{max(int(past), 0)} s ago"


def money(dollars: float | None) -> str:
    """`$0.0012`; a dash where no price is known."""
    if dollars is None:
        return "–"
    return f"${dollars:,.2f}" if dollars >= 10 or dollars == 0 else f"${dollars:.4f}"


def number(value: float | None, digits: int = 0) -> str:
    """`1,234`; a dash for nothing."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """`87 %`; a dash for nothing."""
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def signed_percent(value: float) -> str:
    """`-12 %`."""
    return f"{round(value * 100) or 0:+d} %"


def seconds(value: float | None) -> str:
    """`12 ms`, `1.2 s`, `3 min 5 s`; a dash for nothing."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def share(value: float | None, digits: int = 2) -> str:
    """A number in [0, 1] as `0.87`; a dash for nothing."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """`+0.12`; a dash for nothing."""
    return "–" if value is None else f"{value:+.{digits}f}"


def pretty(value: object) -> str:
    """A payload as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
