"""The provider behind the proxy, and the headers that go there and come back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from atlas.models import HttpPool
from atlas.models.http import check_url, proxy_of
from atlas.models.providers import PROVIDERS
from atlas.models.text import one_line, redact

if TYPE_CHECKING:
    import aiohttp

LARGE = 2**20
"""Bytes from which on a body is sent in pieces, so that it does not hold the event loop."""
CONNECT_S = 10.0
"""Seconds for a connection to the upstream."""
HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host", "content-length", "accept-encoding", "expect"}
)
"""Headers that belong to one connection, or that follow from the body."""
UNPACKED = ("gzip", "deflate", "br", "zstd")
"""Packings of a request that are undone when it is read."""
OWN = "x-atlas-"
"""Headers between client and proxy."""
SHORTEST = 8
"""Characters below which a key is too common a text to be looked for."""
CREDENTIALS = ("authorization", "x-api-key", "api-key")


class Unreachable(Exception):
    """The upstream gave no reply: `status` is what the client is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Upstream:
    """One provider."""

    def __init__(
        self, provider: str, base: str, http: HttpPool, *, key: dict[str, str] | None = None, timeout_s: float = 600.0
    ) -> None:
        """`key` is the header with a key of the proxy's own, for clients that have none.

        Raises:
            ConfigError: the address is none.
        """
        self.provider = provider
        known = PROVIDERS[provider]
        self.prices = known.prices if base.rstrip("/") == known.base else None
        """The provider's id in genai-prices; None where its tokens have no list price."""
        self.host = check_url(base, "The upstream")
        self._base = base.rstrip("/")
        self._http = http
        self._key = key
        self._timeout_s = timeout_s
        self._proxy = proxy_of(base)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be recorded."""
        return tuple(value.removeprefix("Bearer ") for value in (self._key or {}).values())

    async def admit(self) -> None:
        """Wait for a place in the flow of calls that begin; hardly ever, but in a burst."""
        await self._http.admit()

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """The reply, its body still to be read. `path` begins with a slash and may have a query.

        Raises:
            Unreachable: there is none.
        """
        import aiohttp
        from yarl import URL

        session = self._http.session()
        waits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._timeout_s)
        try:
            return await session.request(
                method,
                URL(self._base + path, encoded=True),
                data=body if body is None or len(body) < LARGE else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
                timeout=waits,
                proxy=self._proxy,
                skip_auto_headers=("Content-Type", "User-Agent"),
            )
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise Unreachable(504, f"{self.host} did not answer in time.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = one_line(redact(str(error) or type(error).__name__, self.secrets), 200)
            raise Unreachable(502, f"{self.host} cannot be reached: {why}.") from None

    def headers(self, given: Mapping[str, str], token: str | None) -> CIMultiDict[str]:
        """The client's headers as they go on; for a client whose key is the token, the proxy's own key stands in."""
        kept: CIMultiDict[str] = CIMultiDict()
        named = given.get("Connection", "").lower()
        dropped = HOP if named in ("", "keep-alive", "close") else HOP.union(map(str.strip, named.split(",")))
        for name, value in given.items():
            lower = name.lower()
            if lower in dropped or lower.startswith(OWN) or (lower == "content-encoding" and value in UNPACKED):
                continue
            if lower in CREDENTIALS and token is not None and value.removeprefix("Bearer ") == token:
                continue
            kept.add(name, value)
        if self._key and not any(name in kept for name in CREDENTIALS):
            kept.update(self._key)
        kept["Accept-Encoding"] = "identity"
        return kept


def returned(response: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """The upstream's headers as they come back; the body is handed on unpacked."""
    kept: CIMultiDict[str] = CIMultiDict()
    packed = "Content-Encoding" in response.headers
    for name, value in response.headers.items():
        lower = name.lower()
        if lower in HOP or (packed and lower == "content-encoding"):
            continue
        kept.add(name, value)
    return kept


def credentials(given: Mapping[str, str]) -> tuple[str, ...]:
    """The client's own keys, which must not be recorded even where they stand in a text."""
    found = [given[name] for name in (*CREDENTIALS, "cookie") if name in given]
    return tuple(value.removeprefix("Bearer ") for value in found if len(value) >= SHORTEST)
