"""Who may look: a token, the names this server goes by, and a proof that a decision came from one of its own pages."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from yarl import URL

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # With no-referrer a browser sends its own forms with the Origin null.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What every response carries: nothing but this server's own files runs, and no other page may frame or read it."""
SAFE_METHODS = ("GET", "HEAD")
CSRF_HEADER, CSRF_FIELD = "X-Atlas-Csrf", "csrf"


class Gate:
    """Tells requests of the person at this machine from others."""

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        """`hosts` are the values of the header Host that mean this server, as `127.0.0.1:8420`."""
        self._token = token
        self._hosts = hosts
        self.cookie = f"atlas-{self._derived('name')[:8]}"
        """Name of the cookie: browsers send a cookie to every port of a host."""
        self.pass_ = self._derived("cookie")
        """Its value; the token cannot be read from it."""
        self.csrf = self._derived("csrf")
        """What a page sends along with a decision."""

    def known_host(self, host: str) -> bool:
        """Whether the header Host names this server; another name would be a page that rebinds its own to us."""
        return host.lower() in self._hosts

    def own_origin(self, origin: str | None) -> bool:
        """Whether a request's Origin, where it has one, is this server."""
        if origin is None:
            return True
        try:
            url = URL(origin)
        except ValueError:
            return False
        return url.scheme in ("http", "https") and self.known_host(origin.partition("://")[2])

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return same(given, self._token)

    def is_pass(self, cookie: str | None) -> bool:
        """Whether this cookie was given out by this server."""
        return cookie is not None and same(cookie, self.pass_)

    def is_csrf(self, given: str | None) -> bool:
        """Whether a decision was sent by one of our pages."""
        return given is not None and same(given, self.csrf)

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Equality in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
