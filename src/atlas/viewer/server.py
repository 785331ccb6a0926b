"""The viewer's HTTP side: routes, the gate in front of them, and what becomes of a failure."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web
from multidict import MultiDict
from pydantic import ValidationError

from atlas.schema import Noun
from atlas.schema.errors import AtlasError, ConfigError, StaleVersion, StoreError, StoreUnavailable
from atlas.store.mark import Mark
from atlas.viewer.gate import CSRF_FIELD, CSRF_HEADER, HEADERS, SAFE_METHODS, Gate
from atlas.viewer.rendering import Page, as_json, assets, html

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_BYTES = 1_000_000
"""Size of a request's body."""
FORM = "application/x-www-form-urlencoded"
log = logging.getLogger("atlas.viewer")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GATE = web.AppKey("gate", Gate)


class Room(Protocol):
    """A group of pages."""

    def routes(self) -> list[web.RouteDef]:
        """Its addresses."""
        ...


class Problem(Page):
    """What is said in place of a page."""

    template = "problem.html"
    status: int
    """HTTP status."""
    message: str
    """The cause."""
    remedy: str = ""
    """What can be done."""

    @property
    def http_status(self) -> int:
        """See `Page.http_status`."""
        return self.status


class Refusal(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(status=status, message=message, remedy=remedy)


class Door(Noun):
    """Who may look."""

    token: str | None = None
    """What opens the pages; None draws one."""
    names: tuple[str, ...] = ()
    """Other names of the server, each with its port where that is not 80 or 443."""


class Server:
    """Listens for the pages of these rooms."""

    def __init__(self, *rooms: Room, door: Door) -> None:
        self._rooms = rooms
        self._names = door.names
        self._runner: web.AppRunner | None = None
        self.token = door.token or secrets.token_urlsafe(32)
        """What opens the pages."""
        self.origin = ""
        """`http://127.0.0.1:8420`, once it listens."""

    async def open(self, host: str, port: int) -> None:
        """Listen, on a free port for 0.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        import socket

        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, port), family=family)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"Port {port} of {host} cannot be listened on ({error}).", "Give --port 0.") from error
        taken = int(listening.getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        own = {host, "localhost"} if host in LOOPBACK else {host}
        named = {f"[{name}]:{taken}" if ":" in name else f"{name}:{taken}" for name in own}
        self._runner = web.AppRunner(
            self.app(frozenset({*named, *map(str.lower, self._names)})), access_log=None, shutdown_timeout=1.0
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        self.origin = f"http://{shown}:{taken}"

    async def close(self) -> None:
        """Stop listening; open streams end."""
        if self._runner is not None:
            await self._runner.cleanup()

    def app(self, hosts: frozenset[str]) -> web.Application:
        """The application, for requests whose Host is one of these."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[told, guarded])
        app.on_response_prepare.append(_sealed)
        app[GATE] = Gate(self.token, hosts)
        app.router.add_get("/static/{name:.*}", _asset)
        app.router.add_get("/", _front)
        for room in self._rooms:
            app.router.add_routes(room.routes())
        return app


def see_other(path: str) -> web.Response:
    """Send the reader to another page of this server, and nowhere else."""
    return web.Response(status=303, headers={"Location": "/" + path.lstrip("/\\")})


async def _front(request: web.Request) -> web.StreamResponse:
    return see_other("/sessions")


async def _asset(request: web.Request) -> web.StreamResponse:
    """A file that pages load, from memory."""
    found = assets().get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    kept = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{found.version}"'}
    return web.Response(body=found.content, content_type=found.kind, charset="utf-8", headers=kept)


async def _sealed(request: web.Request, response: web.StreamResponse) -> None:
    """Give every response its headers."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only the person at this machine through."""
    gate = request.app[GATE]
    if not gate.known_host(request.headers.get("Host", "")):
        return web.Response(
            status=403, text="This server does not go by that name; `atlas view --name` gives it another.\n"
        )
    site = request.headers.get("Sec-Fetch-Site", "none")
    foreign = request.method not in SAFE_METHODS and site not in ("none", "same-origin")
    if foreign or not gate.own_origin(request.headers.get("Origin")):
        return web.Response(status=403, text="Requests from pages of other sites are refused.\n")
    if request.path.startswith("/static/"):
        return await handler(request)
    if request.method == "GET" and gate.is_token(request.query.get("token", "")):
        clean = see_other(str(request.rel_url.without_query_params("token")))
        clean.set_cookie(gate.cookie, gate.pass_, httponly=True, samesite="Strict", path="/")
        return clean
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    trusted = scheme.lower() == "bearer" and gate.is_token(bearer.strip())
    if not trusted and not gate.is_pass(request.cookies.get(gate.cookie)):
        return answer(request, _LOCKED)
    if not trusted and request.method not in SAFE_METHODS and not gate.is_csrf(await _csrf(request)):
        return answer(request, Problem(status=403, message="This decision did not come from a page of this server."))
    return await handler(request)


_LOCKED = Problem(
    status=401,
    message="This page needs the token.",
    remedy="Open the address that `atlas view` printed when it started, or give the token.",
)


async def _csrf(request: web.Request) -> str | None:
    header = request.headers.get(CSRF_HEADER)
    return header if header is not None else (await fields(request)).get(CSRF_FIELD, "")


def mark_of(request: web.Request) -> Mark:
    """Where a page of a list begins: below the mark in the address, else at the newest.

    Raises:
        Refusal: it is no mark.
    """
    given = request.query.get("below")
    try:
        return Mark.parse(given) if given else Mark()
    except ValueError:
        raise Refusal(400, "This address leads to no page of the list.", "Begin at the newest.") from None


async def fields(request: web.Request) -> MultiDict[str]:
    """The texts of a form.

    Raises:
        Refusal: it is no form.
    """
    if request.content_type != FORM:
        raise Refusal(415, f"A decision is sent as {FORM}.")
    try:
        form = await request.post()
    except (ValueError, LookupError) as error:  # No text in the encoding that it names, or no such encoding.
        raise Refusal(400, "This is no form.") from error
    return MultiDict((name, value) for name, value in form.items() if isinstance(value, str))


@web.middleware
async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a failure with a page that says what it was."""
    try:
        return await handler(request)
    except Refusal as error:
        return answer(request, error.problem)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return answer(request, Problem(status=error.status, message=f"{error.reason}."))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        return answer(request, Problem(status=400, message=f"{where}: {fault['msg']}."))
    except AtlasError as error:
        return answer(request, Problem(status=status_of(error), message=error.message, remedy=error.remedy))
    except Exception:  # the outermost boundary of a request: a defect is logged once and becomes a page
        log.exception("%s %s failed", request.method, request.path)
        return answer(
            request, Problem(status=500, message="Atlas failed to make this page.", remedy="Its log says why.")
        )


def status_of(error: AtlasError) -> int:
    """The HTTP status that belongs to an error."""
    match error:
        case StoreUnavailable():
            return 503
        case StaleVersion():
            return 409
        case ConfigError():
            return 404
        case StoreError():
            return 400
        case _:
            return 500


def wants_json(request: web.Request) -> bool:
    """Whether the reader wants JSON: by `?format=json` or the header Accept."""
    return request.query.get("format") == "json" or request.headers.get("Accept", "").startswith("application/json")


def answer(request: web.Request, page: Page) -> web.Response:
    """A page as its reader wants it."""
    status = page.http_status
    if wants_json(request):
        return as_json(page, status=status)
    around = {
        "path": request.path,
        "query": dict(request.query),
        "json_address": str(request.rel_url.update_query(format="json")),
        "csrf": request.app[GATE].csrf if status != 401 else "",
    }
    return html(page, around, status=status)
