"""HTTP as models and agents use it: one shared connection pool per event loop, and bounded reading."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from atlas.models.retry import RetryBudget
from atlas.models.turnstile import Turnstile
from atlas.schema import now
from atlas.schema.errors import ConfigError, ModelBadReply

if TYPE_CHECKING:
    import aiohttp

MAX_REPLY_BYTES = 16 * 2**20
"""No honest reply is larger; reading stops here, after decompression."""

_HEAD_BYTES = 65_536
_LOCAL = re.compile(r"localhost|127(\.\d+){3}|::1|0\.0\.0\.0|.*\.localhost")
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie", re.I)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class _LoopState:
    """What belongs to one event loop."""

    session: aiohttp.ClientSession
    turnstile: Turnstile


class HttpPool:
    """Connections and retry budgets that every model and agent of a runtime shares."""

    def __init__(self, *, connections: int = 2000) -> None:
        """`connections` bounds the open connections of one event loop, as half of the process's file limit does."""
        self._connections = min(connections, _open_files() // 2)
        self._states: dict[asyncio.AbstractEventLoop, _LoopState] = {}
        self._budgets: dict[str, RetryBudget] = defaultdict(RetryBudget)

    def session(self) -> aiohttp.ClientSession:
        """The session of the running event loop, made at the first use. Deadlines are the caller's."""
        return self._of_this_loop().session

    async def admit(self) -> None:
        """Wait for a place in the flow of calls that begin; hardly ever, but in a burst."""
        await self._of_this_loop().turnstile.enter()

    def _of_this_loop(self) -> _LoopState:
        loop = asyncio.get_running_loop()
        state = self._states.get(loop)
        if state is None:
            import aiohttp

            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=60),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "atlas-loop"},
            )
            self._states = {old: kept for old, kept in self._states.items() if not old.is_closed()}
            state = self._states[loop] = _LoopState(session, Turnstile())
        return state

    def budget(self, host: str) -> RetryBudget:
        """The retries that all callers of this host share."""
        return self._budgets[host]

    async def close(self) -> None:
        """Close the running loop's connections; calling it twice is harmless."""
        state = self._states.pop(asyncio.get_running_loop(), None)
        if state is not None:
            await state.session.close()


def _open_files() -> int:
    """How many files this process may have open at once."""
    try:
        import resource
    except ImportError:  # Windows has no such limit to ask for.
        return 8192
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft


async def bounded(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body in pieces as they arrive.

    Raises:
        ModelBadReply: the body is longer than `MAX_REPLY_BYTES`.
    """
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MAX_REPLY_BYTES:
            raise ModelBadReply(
                f"{response.host} sent more than {MAX_REPLY_BYTES // 2**20} MiB.",
                "Lower llm.max_output_tokens, or check that llm.api_base is a chat API.",
            )
        yield piece


async def read_head(response: aiohttp.ClientResponse) -> bytes:
    """The body's first bytes: enough of an error page to say what is wrong."""
    head = bytearray()
    async for piece in response.content.iter_any():
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    return bytes(head[:_HEAD_BYTES])


def check_url(url: str, key: str) -> str:
    """The host of an http(s) address.

    Raises:
        ConfigError: it is no such address; `key` names the configuration key.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if parts is None or not host or parts.scheme not in ("http", "https"):
        raise ConfigError(f"{key} is not an http or https address.", "Write it like https://host/v1.")
    if parts.username or parts.password:
        raise ConfigError(f"{key} holds a user name or password.", "Name the key's variable in api_key_env instead.")
    return host


def is_local(host: str) -> bool:
    """Whether the host is this machine."""
    return _LOCAL.fullmatch(host) is not None


def proxy_of(url: str) -> str | None:
    """The proxy that the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) names for this address, if any."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_local(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def expand_headers(headers: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Headers with `${NAME}` read from the environment, and the secrets that were put in.

    Raises:
        ConfigError: a variable is not set, or a header holds a control character.
    """
    filled: dict[str, str] = {}
    secrets: list[str] = []
    for name, template in headers.items():
        for variable in _VARIABLE.findall(template):
            secrets.append(read_secret(variable, f"the header {name}"))
        value = _VARIABLE.sub(lambda found: os.environ[found[1]].strip(), template)
        if not value.isprintable() or not name.isprintable():
            raise ConfigError(f"The header {name!a} holds a control character.", "Write it on one line.")
        filled[name] = value
        if _SECRET_HEADER.search(name) and value:
            secrets += {value, value.split()[-1]}
    return filled, tuple(secrets)


def read_secret(variable: str, purpose: str) -> str:
    """A secret from the environment, without surrounding white space.

    Raises:
        ConfigError: it is not set, empty, or no header could carry it.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{variable} is not set; {purpose} needs it.", f"Export {variable} before you start.")
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"{variable} holds a character that no key has.", f"Export {variable} again, on one line.")
    return value


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait (`Retry-After-Ms`, or `Retry-After` as seconds or as an HTTP date)."""
    for name, unit in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        raw = headers.get(name, "")
        try:
            seconds = float(raw) * unit
        except ValueError:
            continue
        if 0.0 <= seconds < float("inf"):
            return seconds
    try:
        date = parsedate_to_datetime(headers.get("Retry-After", ""))
        return max(0.0, (date - now()).total_seconds())
    except (ValueError, TypeError):
        return None
