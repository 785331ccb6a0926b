r"""Numbers as models and people write them: 1,200 · $42 · \boxed{\frac{3}{4}} · 50 % · 12 km · #### 7."""

from __future__ import annotations

import re
from fractions import Fraction

from atlas.schema import Noun

_TAIL = 20_000
"""Characters at the end of an answer that are searched."""
_MAX_EXPONENT = 400
_MAX_DIGITS = 400

_SIGN = r"(?<![\w.])(?P<sign>(?<![)\]}])[-+])?[$€£¥]?\s?(?P<inner>[-+])?"
_BRACED = r"\{\s?(?P<top>[-+]?\d+)\s?\}\s?\{\s?(?P<bottom>[-+]?\d+)\s?\}"
_LATEX = rf"(?P<whole>\d{{1,9}})?\s?\\frac\s?(?:{_BRACED}|(?P<small>\d\d))"
_RATIO = r"(?:(?P<mixed>\d{1,9})\s)?(?P<over>\d+)\s?/\s?(?P<under>\d+)(?![\d/])"
_DIGITS = r"(?P<plain>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_POWER = r"[eE](?P<e>[-+]?\d{1,4})(?!\w)|\s?(?:\\times|\\cdot|×|x|\*)\s?10\s?\^\s?\{?(?P<ten>[-+]?\d{1,4})\}?"
_NUMBER = re.compile(rf"{_SIGN}(?:{_LATEX}|{_RATIO}|{_DIGITS}(?:{_POWER})?)(?P<percent>\s?(?:%|percent\b))?")
_TIDY = (
    (re.compile("[\u2212\u2010\u2011\u2012\u2013]"), "-"),
    (re.compile(r"(?<=\d)(?:[\u00a0\u2007\u2009\u202f]|\\,)(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\[,;:! ]|[~\u00a0\u2007\u2009\u202f]"), " "),
    (re.compile(r"(?<=[A-Za-z}°])\s?[\^_]\s?\{?[-+]?\w{1,3}\}?"), " "),
)
"""Typographic signs, thin spaces between thousands, LaTeX spacing, and the exponents of units, in this order."""


class Number(Noun):
    """A number found in a text."""

    value: Fraction
    """Exactly as written; 50 for 50 %."""
    percent: bool = False
    """Whether a percent sign follows."""

    def equals(self, other: Number, tolerance: float) -> bool:
        """Whether both mean the same within an absolute tolerance; where only one has a percent sign, 50 % may mean
        50 or 0.5."""
        margin = Fraction(tolerance)
        if abs(self.value - other.value) <= margin:
            return True
        if self.percent == other.percent:
            return False
        one, two = (number.value / 100 if number.percent else number.value for number in (self, other))
        return abs(one - two) <= margin


def final_number(text: str) -> Number | None:
    r"""The number a text arrives at: in the last \boxed{}, else after the last ####, else the last one; or None."""
    tail = text[-_TAIL:]
    for segment in (_boxed(tail), _after_marks(tail), tail):
        found = _last_number(segment) if segment is not None else None
        if found is not None:
            return found
    return None


def _boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, first = 0, start + len("\\boxed")
    for at in range(first, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[first + 1 : at]
    return text[first + 1 :]


def _after_marks(text: str) -> str | None:
    _, marks, rest = text.rpartition("####")
    return rest.strip().partition("\n")[0] if marks else None


def _last_number(text: str) -> Number | None:
    for pattern, plain in _TIDY:
        text = pattern.sub(plain, text)
    found = map(_read, reversed(list(_NUMBER.finditer(text))))
    return next((number for number in found if number is not None), None)


def _read(match: re.Match[str]) -> Number | None:
    part = match.groupdict()
    if max(len(digits or "") for digits in part.values()) > _MAX_DIGITS:
        return None
    value = _magnitude(part)
    if value is None:
        return None
    negative = (part["sign"] == "-") != (part["inner"] == "-")
    return Number(value=-value if negative else value, percent=part["percent"] is not None)


def _magnitude(part: dict[str, str | None]) -> Fraction | None:
    top, bottom = part["top"] or part["over"], part["bottom"] or part["under"]
    if part["small"]:
        top, bottom = part["small"]
    if top and bottom:
        if int(bottom) == 0:
            return None
        return int(part["whole"] or part["mixed"] or 0) + Fraction(int(top), int(bottom))
    exponent = int(part["e"] or part["ten"] or 0)
    if part["plain"] is None or abs(exponent) > _MAX_EXPONENT:
        return None
    return Fraction(part["plain"].replace(",", "")) * Fraction(10) ** exponent
