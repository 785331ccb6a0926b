"""An agent that is a service of the user's: one POST with JSON for one turn."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from atlas.agents.answers import Unusable, as_text, output_of, recorded
from atlas.agents.base import Abilities, Output, Turn
from atlas.agents.slots import fill, injects
from atlas.config.agent import HttpAgentConfig
from atlas.config.llm import RetryConfig
from atlas.models import Caller, HttpPool, OnText, Pace, Retrier
from atlas.models.http import bounded, check_url, expand_headers, proxy_of, read_head, retry_after_s
from atlas.models.sse import EventParser
from atlas.models.text import one_line, redact, scrub
from atlas.schema import content_hash
from atlas.schema.errors import AgentError, ModelError, ModelUnavailable

if TYPE_CHECKING:
    import aiohttp

_DONE = "[DONE]"
"""Ends a stream of the OpenAI kind; no part of the answer."""
_NOT_STARTED = frozenset({429, 503})
"""The service has done nothing yet: only these are tried again, for its work may have effects."""


class HttpAgent:
    """A service that takes a prompt and answers, as the configuration describes it."""

    def __init__(self, config: HttpAgentConfig, http: HttpPool, *, pace: Pace | None = None) -> None:
        """Nothing is sent yet.

        Raises:
            ConfigError: the address is none, or a header names a variable that is not set.
        """
        self._config = config
        self._http = http
        self._host = check_url(config.url, "agent.url")
        self._headers, self._secrets = expand_headers(config.headers)
        self._secrets = (*self._secrets, *filter(None, (urlsplit(config.url).query,)))
        self._proxy = proxy_of(config.url)
        self._path = _keys(config.result_path)
        self._retrier = Retrier(f"The agent at {self._host}", RetryConfig(), http.budget(self._host), pace)

    @property
    def name(self) -> str:
        """As configured."""
        return self._config.name

    @property
    def plans(self) -> bool:
        """A service answers; it is not asked for a plan."""
        return False

    @property
    def abilities(self) -> Abilities:
        """The result; playbook and guidance too, where the template has a place for them."""
        return Abilities(injects=injects(self._config.payload_template))

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """The text at `result_path` of the reply; of a stream of events the texts there, joined, each told as it comes.

        Raises:
            AgentError: the service cannot be reached, refuses, is too slow, or its reply holds no text there.
            ModelTimeout: the session's time is spent.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        body = fill(self._config.payload_template, turn, system=self._config.system_prompt)
        key = content_hash(caller.trace.session_id, str(turn.place.step), str(turn.place.attempt), json.dumps(body))
        timeout_s = min(caller.remaining_s(turn.timeout_s), self._config.timeout_seconds)
        try:
            text = await self._retrier.run(partial(self._attempt, body, key, on_text), timeout_s=timeout_s)
        except ModelError as error:
            raise AgentError(error.message, error.remedy.replace("timeout_seconds", "agent.timeout_seconds")) from None
        return output_of(turn, text)

    async def close(self) -> None:
        """Nothing to give back: the pool owns the connections."""

    async def _attempt(self, body: Any, key: str, on_text: OnText | None) -> str:
        """One try. `key` lets a careful service recognise a request that it has already worked on."""
        import aiohttp

        await self._http.admit()
        try:
            async with self._http.session().post(
                self._config.url,
                json=body,
                headers={"Idempotency-Key": key, **self._headers},
                allow_redirects=False,
                proxy=self._proxy,
            ) as response:
                if 200 <= response.status < 300:
                    if response.content_type == "text/event-stream":
                        return await self._streamed(response, on_text)
                    text = self._answer(b"".join([piece async for piece in bounded(response)]))
                    if on_text:
                        await on_text(text)
                    return text
                said = redact((await read_head(response)).decode("utf-8", "replace"), self._secrets)
                what = f"The agent at {self._host} answered {response.status}: {one_line(said) or 'nothing'}"
                if response.status in _NOT_STARTED:
                    raise ModelUnavailable(what, "Try again later.", retry_after_s=retry_after_s(response.headers))
                raise AgentError(what, "Check agent.url, agent.headers and agent.payload_template.")
        except aiohttp.ClientConnectorError as error:
            raise ModelUnavailable(self._broken(error), "Check agent.url and that the service runs.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise AgentError(self._broken(error), "Look at the service's own log.") from None

    def _broken(self, error: Exception) -> str:
        why = one_line(redact(str(error), self._secrets)) or type(error).__name__
        return f"The connection to the agent at {self._host} failed: {why}"

    async def _streamed(self, response: aiohttp.ClientResponse, on_text: OnText | None) -> str:
        """The texts of a stream's events, joined. One without (progress, `[DONE]`) is passed over."""
        parser, pieces = EventParser(), list[str]()

        async def take(events: list[bytes]) -> None:
            for piece in filter(None, map(self._piece, events)):
                pieces.append(piece)
                if on_text:
                    await on_text(piece)

        async for raw in bounded(response):
            await take(parser.feed(raw))
        await take(parser.finish())
        try:
            return as_text("".join(pieces))
        except Unusable as error:
            raise AgentError(f"The agent at {self._host} {error}.", "Correct agent.result_path.") from None

    def _piece(self, data: bytes) -> str:
        """The text in one event's data; nothing where it has none."""
        text = scrub(data.decode("utf-8", "replace"))
        if text.strip() == _DONE:
            return ""
        try:
            found = _at(json.loads(text), self._path)
        except (ValueError, RecursionError, LookupError, TypeError):
            found = None
        if isinstance(found, str):
            return scrub(found)
        return "" if self._path else text

    def _answer(self, raw: bytes) -> str:
        text = raw.decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            if self._path:
                raise AgentError(f"The agent at {self._host} sent no JSON.", "Leave agent.result_path empty.") from None
            found = text
        try:
            return as_text(_at(found, self._path))
        except (Unusable, LookupError, TypeError, ValueError) as error:
            where = ".".join(map(str, self._path)) or "its reply"
            raise AgentError(
                f"The agent at {self._host} gave no text at {where}: {one_line(error)}.", "Correct agent.result_path."
            ) from None


def _keys(path: tuple[str | int, ...] | str) -> tuple[str | int, ...]:
    return tuple(filter(None, path.split("."))) if isinstance(path, str) else path


def _at(found: Any, path: tuple[str | int, ...]) -> Any:
    """What the keys lead to, step by step."""
    if not path:
        return found
    step = cast(list[Any], found)[int(path[0])] if isinstance(found, list) else found[path[0]]
    return _at(step, path[1:])
