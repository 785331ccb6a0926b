"""An agent that is a service of the user's: one POST with JSON for one turn."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from atlas.agents.answers import Unusable, as_text, output_of, recorded
from atlas.agents.base import Output, Turn
from atlas.agents.prompting import prompt_of
from atlas.config.agent import HttpAgentConfig
from atlas.config.llm import RetryConfig
from atlas.models import Caller, HttpPool, OnText, Pace, Retrier
from atlas.models.http import bounded, check_url, expand_headers, proxy_of, read_head, retry_after_s
from atlas.models.text import one_line, redact
from atlas.schema import content_hash
from atlas.schema.errors import AgentError, ModelError, ModelUnavailable

_SLOT = "{prompt}"
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

    async def act(self, turn: Turn, caller: Caller, *, on_text: OnText | None = None) -> Output:
        """The text at `result_path` of the reply.

        Raises:
            AgentError: the service cannot be reached, refuses, is too slow, or its reply holds no text there.
            ModelTimeout: the session's time is spent.
        """
        done = await recorded(turn, caller, on_text)
        if done is not None:
            return done
        prompt = "\n\n".join(filter(None, (self._config.system_prompt, prompt_of(turn))))
        body = _filled(self._config.payload_template, prompt)
        key = content_hash(caller.trace.session_id, str(turn.place.step), str(turn.place.attempt), prompt)
        timeout_s = min(caller.remaining_s(turn.timeout_s), self._config.timeout_seconds)
        try:
            raw = await self._retrier.run(partial(self._attempt, body, key), timeout_s=timeout_s)
        except ModelError as error:
            raise AgentError(error.message, error.remedy.replace("timeout_seconds", "agent.timeout_seconds")) from None
        text = self._answer(raw)
        if on_text:
            await on_text(text)
        return output_of(turn, text)

    async def close(self) -> None:
        """Nothing to give back: the pool owns the connections."""

    async def _attempt(self, body: Any, key: str) -> bytes:
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
                    return b"".join([piece async for piece in bounded(response)])
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


def _filled(template: Any, prompt: str) -> Any:
    """The template with the prompt in every `{prompt}` of its texts."""
    if isinstance(template, str):
        return template.replace(_SLOT, prompt)
    if isinstance(template, dict):
        return {key: _filled(value, prompt) for key, value in cast(dict[str, Any], template).items()}
    if isinstance(template, list | tuple):
        return [_filled(value, prompt) for value in cast(list[Any], template)]
    return template
