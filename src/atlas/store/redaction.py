"""Secrets in texts: found by the values of the environment, by the forms that providers give them, by their entropy.

Nearly every text is without secrets and must pass quickly: `suspects` looks for strings without which no rule can
match, and for long runs of the letters that keys are made of, at some microseconds per thousand characters.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import log2
from typing import NamedTuple
from urllib.parse import quote

SHORTEST = 8
"""Characters below which a value of the environment is too common to be looked for, and no text is examined."""
WINDOW, OVERLAP = 1_000_000, 1_000
"""A longer text is examined in windows of so many characters, so that a large answer is not copied whole."""
_SECRET_WORDS = ("key", "keys", "auth", "pass", "credential", "credentials", "dsn")
_SECRET_ENDINGS = ("password", "passwd", "secret", "secrets", "token", "apikey", "passphrase")
_PLACES = ("sock", "file", "path", "dir", "home")
"""Last words of variables that say where, not what: SSH_AUTH_SOCK."""
_WORDS = (b"key", b"token", b"secret", b"pass", b"pwd")
"""Every assignment of a secret has one of them, in small or capital letters."""
_RUN = bytes(120 if (code < 128 and chr(code).isalnum()) or chr(code) in "+/_-=.~" else 32 for code in range(256))
"""Turns what keys are made of into x, and everything else into a space."""
_RUN_SHORT, _RUN_LONG = b"x" * 11, b"x" * 32
"""Every key has a short run, with its hint; what may be random is a long one."""
_COMMON = bytes(code for code in range(256) if code > 127 or chr(code).isalnum() or chr(code) in " \n,'()")
"""What most texts consist of; without it little is left to look through."""
_DIGITS = bytes(48 if 48 <= code < 58 else 32 if chr(code) in " -" else 120 for code in range(256))
"""Turns digits into 0, what stands between groups of them into a space, and everything else into x."""
_CARDS = (b"0" * 15, b"0000 0000 0000 0000", b"0000 000000 00000")
"""How the number of a card looks then."""
_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}").fullmatch
_FIELD = re.compile(
    r"(?:.*[_-])?(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key"
    r"|access[_-]?token|auth[_-]?token|refresh[_-]?token|authorization|cookie)",
    re.IGNORECASE,
).fullmatch


class Rule(NamedTuple):
    """One kind of secret."""

    kind: str
    """Its name in `[redacted:kind]`."""
    hints: tuple[str, ...]
    """At least one of them stands in every text that has this secret; none for a rule that is always tried."""
    pattern: re.Pattern[str]
    """Its form; the group `value`, where there is one, is the secret, else the whole match is."""
    holds: Callable[[str], bool] | None = None
    """A further condition on the secret."""


def is_card(text: str) -> bool:
    """Whether digits are a payment card's by the check digit of ISO/IEC 7812-1 (Luhn)."""
    digits = [int(char) for char in text if char.isdigit()][::-1]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether a text is an account number by the check digits of ISO 13616."""
    plain = text.replace(" ", "")
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def is_random(text: str) -> bool:
    """Whether at least 32 letters and digits look drawn at random: more than 3 bits of entropy a character.

    Names without digits, numbers and UUIDs, which tell things apart in every log, do not.
    """
    digits, letters = sum(map(str.isdigit, text)), sum(map(str.isalpha, text))
    if digits < 2 or letters < 4 or _UUID(text):
        return False
    counts = Counter(text)
    return -sum(n / len(text) * log2(n / len(text)) for n in counts.values()) > 3.0


_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt]))"
"""Where a key may begin: not within a word, but behind the escape of a line's end in JSON."""


def _mixed(text: str) -> bool:
    return any(char.isdigit() for char in text) and any(char.isalpha() for char in text)


_ASSIGNMENT = re.compile(rb"[a-z_-]{3,20}[\\\"']*\s{0,3}(?::=|[:=])\s{0,3}[\\\"']*[^\s\"'\\,;<>{}\[\]]{8,}")
_ASSIGNED = (
    r"(?i:(?:password|passwd|passphrase|pwd|secret|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|token))[\\\"']*\s{0,3}(?::=|[:=])\s{0,3}[\\\"']*(?P<value>[^\s\"'\\,;<>{}\[\]]{8,})"
)
KEYS: tuple[Rule, ...] = (
    Rule("anthropic-key", ("sk-ant-",), re.compile(r"sk-ant-[A-Za-z0-9_-]{16,}")),
    Rule("openai-key", ("sk-",), re.compile(_START + r"sk-[A-Za-z0-9_-]{20,}")),
    Rule("stripe-key", ("sk_", "rk_"), re.compile(_START + r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}")),
    Rule("aws-key", ("AKIA", "ASIA"), re.compile(_START + r"A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    Rule(
        "github-token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"),
    ),
    Rule("gitlab-token", ("glpat-",), re.compile(r"glpat-[A-Za-z0-9_-]{16,}")),
    Rule("huggingface-token", ("hf_",), re.compile(_START + r"hf_[A-Za-z0-9]{20,}")),
    Rule("slack-token", ("xox",), re.compile(r"xox[abeoprs]-[A-Za-z0-9-]{10,}")),
    Rule("slack-hook", ("/services/",), re.compile(r"hooks\.slack\.com/services/[A-Za-z0-9/_-]{20,}")),
    Rule("google-key", ("AIza",), re.compile(r"AIza[A-Za-z0-9_-]{30,}")),
    Rule("google-token", ("ya29.",), re.compile(r"ya29\.[A-Za-z0-9_-]{20,}")),
    Rule("google-secret", ("GOCSPX-",), re.compile(r"GOCSPX-[A-Za-z0-9_-]{20,}")),
    Rule(
        "jwt",
        ("eyJ",),
        re.compile(r"(?:(?<![A-Za-z0-9_-])|(?<=\\[bfnrt]))eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    ),
)
"""Forms of keys, each with a run of at least eleven letters."""
ANNOUNCED: tuple[Rule, ...] = (
    Rule("bearer", ("earer ",), re.compile(r"(?i:bearer) +(?P<value>[A-Za-z0-9._~+/=-]{16,})")),
    Rule("basic-auth", ("asic ",), re.compile(r"[Bb]asic (?P<value>[A-Za-z0-9+/]{12,}={0,2})"), _mixed),
)
"""Forms with such a run behind the word that announces them."""
LOOSE: tuple[Rule, ...] = (
    Rule(
        "private-key",
        ("-----",),
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z0-9 ]*-----|\Z)"),
    ),
    Rule("url-password", ("://",), re.compile(r"://[^\s/:@\"']*:(?P<value>[^\s/@\"']+)@")),
)
"""Forms without such a run. Each hint consists of signs that `_COMMON` lacks."""
_LOOSE = tuple((rule, hint.encode()) for rule in LOOSE for hint in rule.hints)
ASSIGNED = Rule("assigned", (), re.compile(_ASSIGNED), _mixed)
ENTROPY = Rule(
    "high-entropy",
    (),
    re.compile(
        r"(?i:key|token|secret|passw|pwd|credential|auth)[^\n]{0,40}?(?<![A-Za-z0-9+/_=-])"
        r"(?P<value>[A-Za-z0-9+/_-]{32,}={0,2})"
    ),
    is_random,
)
CARD = Rule(
    "card",
    (),
    re.compile(
        r"(?<![\d.-])(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d)(?:[ -]?\d{4}){3}"
        r"|3[47]\d\d[ -]?\d{6}[ -]?\d{5})(?![\d-])"
    ),
    is_card,
)
PERSONAL: tuple[Rule, ...] = (
    Rule(
        "email",
        ("@",),
        re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"),
    ),
    Rule("iban", (), re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), is_iban),
)


def secret_values(environ: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """The values that look secret by their variable's name, or whose name is given, each with that name."""
    named = set(names)
    return {
        value: name
        for name, value in environ.items()
        if len(value) >= SHORTEST and (name in named or is_secret_name(name))
    }


def is_secret_name(name: str) -> bool:
    """Whether a variable's name says that its value is a key, a token, a secret or a password."""
    words = name.lower().split("_")
    if words[-1] in _PLACES:
        return False
    return words[1:][-1:] == ["pwd"] or any(word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS) for word in words)


def is_secret_field(name: str) -> bool:
    """Whether a payload's key says that the text below it is a secret."""
    return _FIELD(name) is not None


class Redactor:
    """Replaces secrets in texts by `[redacted:kind]`. Without side effects; the same text gives the same result."""

    def __init__(self, known: Mapping[str, str], *, extra: Iterable[str] = (), personal: bool = False) -> None:
        """`known` maps secret values to their variables' names; `extra` are regular expressions."""
        self._known = {form: name for value, name in known.items() for form in _forms(value)}
        own = [re.escape(form) for form in sorted(self._known, key=len, reverse=True)]
        self._values = re.compile("|".join(own)) if own else None
        own_rules = [Rule("custom", (), re.compile(one)) for one in extra]
        self._extra = (*(PERSONAL if personal else ()), *own_rules)
        self._rules = (*KEYS, *ANNOUNCED, *LOOSE, *self._extra)

    def clean(self, text: str) -> str:
        """The text without secrets; the very same object when it has none."""
        if len(text) < SHORTEST or not self.suspects(text):
            return text
        if self._values is not None:
            text = self._values.sub(self._name, text)
        for rule in (*self._rules, ASSIGNED, ENTROPY, CARD):
            if not rule.hints or any(hint in text for hint in rule.hints):
                text = rule.pattern.sub(lambda match, rule=rule: _replaced(match, rule), text)
        return text

    def suspects(self, text: str, known_only: str = "") -> bool:
        """Whether a text may hold a secret. In `known_only`, texts of a form that no rule takes for one, only the
        environment's values are looked for."""
        if self._known and any(form in text or form in known_only for form in self._known):
            return True
        if len(text) <= WINDOW:
            return self._window(text)
        return any(self._window(text[at : at + WINDOW]) for at in range(0, len(text), WINDOW - OVERLAP))

    def _window(self, text: str) -> bool:
        """Whether a rule matches in a text that is short enough to be copied a few times."""
        raw = text.encode("utf-8", "surrogatepass")
        signs = raw.translate(None, _COMMON)
        if (b":" in signs or b"=" in signs) and _assigns(raw.lower()):
            return True
        runs = raw.translate(_RUN)
        rules = [*_keyed(text, raw, runs)] if _RUN_SHORT in runs else []
        rules += [rule for rule, hint in _LOOSE if hint in signs]
        if self._extra:
            rules += [rule for rule in self._extra if not rule.hints or any(hint in text for hint in rule.hints)]
        if _CARDS[0] in raw.translate(_DIGITS, b" -"):  # A first look, which most texts do not pass.
            digits = raw.translate(_DIGITS)
            rules += [CARD] if any(form in digits for form in _CARDS) else []
        return bool(rules) and any(rule.pattern.search(text) is not None for rule in rules)

    def _name(self, match: re.Match[str]) -> str:
        return f"[redacted:{self._known[match.group()]}]"


def _keyed(text: str, raw: bytes, runs: bytes) -> Iterator[Rule]:
    """The rules for keys that a text with long runs has a hint for."""
    letters = _long_runs(raw, runs)
    yield from (rule for rule in KEYS if any(hint in letters for hint in rule.hints))
    yield from (rule for rule in ANNOUNCED if any(hint in text for hint in rule.hints))
    if _RUN_LONG in runs:
        yield ENTROPY


def _long_runs(raw: bytes, runs: bytes) -> str:
    """The runs of key letters that are long enough for a key; `runs` has an x for each such letter."""
    found: list[bytes] = []
    at = runs.find(_RUN_SHORT)
    while at >= 0:
        end = runs.find(b" ", at)
        end = len(runs) if end < 0 else end
        found.append(raw[at:end])
        at = runs.find(_RUN_SHORT, end)
    return b" ".join(found).decode("ascii")


def _assigns(raw: bytes) -> bool:
    """Whether a text in small letters assigns something to the name of a secret."""
    for word in _WORDS:
        at = raw.find(word)
        while at >= 0:
            if _ASSIGNMENT.match(raw, at):
                return True
            at = raw.find(word, at + 1)
    return False


def _forms(value: str) -> set[str]:
    """A value as it stands, inside JSON, and inside a URL."""
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value, safe="")}


def _replaced(match: re.Match[str], rule: Rule) -> str:
    whole = match.group()
    secret = match.groupdict().get("value") or whole
    if secret.startswith("[redacted:") or (rule.holds is not None and not rule.holds(secret)):
        return whole
    return whole.replace(secret, f"[redacted:{rule.kind}]")
