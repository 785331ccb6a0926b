"""A thin client for every server that speaks the OpenAI chat protocol."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from atlas.config.llm import LLMConfig
from atlas.models.base import OnText
from atlas.models.dialect import Dialect
from atlas.models.http import HttpPool, bounded, proxy_of, read_head
from atlas.models.prices import Tariff
from atlas.models.providers import resolve
from atlas.models.refusals import complaint, refusal
from atlas.models.retry import Pace, Retrier
from atlas.models.sse import EventParser, Gathered
from atlas.models.text import one_line, redact, scrub
from atlas.models.wire import Reply, WireError, decode, dump, parse
from atlas.schema import Completion, Request
from atlas.schema.errors import ModelBadReply, ModelError, ModelUnavailable

if TYPE_CHECKING:
    import aiohttp


class _Speaker:
    """Hands streamed text on and remembers whether it did: what was heard cannot be taken back by a retry."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self.spoke = False

    async def say(self, text: str) -> None:
        if text:
            self.spoke = True
            await self._on_text(scrub(text))


class ChatModel:
    """One model of an OpenAI-compatible provider."""

    def __init__(self, config: LLMConfig, http: HttpPool, *, pace: Pace | None = None) -> None:
        """Nothing is sent yet.

        Raises:
            ConfigError: unknown provider, bad address, missing key.
        """
        self._config = config
        self._http = http
        self._endpoint = resolve(config)
        self._dialect = Dialect(self._endpoint)
        self._retrier = Retrier(self._endpoint.name, config.retry, http.budget(self._endpoint.host), pace)
        self._proxy = proxy_of(self._endpoint.url)
        listed = self._endpoint.provider.prices if self._endpoint.own_host else None
        self._tariff = Tariff(listed, self._endpoint.model, config.price)

    @property
    def name(self) -> str:
        """`provider:model`."""
        return self._endpoint.name

    async def complete(self, request: Request, *, timeout_s: float, on_text: OnText | None = None) -> Completion:
        """Answer one request; streams when `on_text` is given.

        Raises:
            ModelError: as the socket says. A stream that breaks after text was heard is not tried again.
        """
        request = self._with_defaults(request)
        speaker = _Speaker(on_text) if on_text else None
        completion = await self._retrier.run(
            partial(self._attempt, request, speaker),
            timeout_s=min(timeout_s, self._config.timeout_seconds),
            may_repeat=lambda: speaker is None or not speaker.spoke,
        )
        if not self._tariff.ready:
            await asyncio.to_thread(self._tariff.resolve)
        usage = completion.usage.model_copy(update={"cost_usd": self._tariff.cost(completion.usage)})
        return completion.model_copy(update={"usage": usage})

    async def close(self) -> None:
        """Nothing to give back: the pool owns the connections."""

    def _with_defaults(self, request: Request) -> Request:
        """The configuration's sampling where the request leaves it open."""
        config = self._config
        open_fields = {
            name: value
            for name, value in (
                ("temperature", config.temperature),
                ("top_p", config.top_p),
                ("max_output_tokens", config.max_output_tokens),
            )
            if value is not None and getattr(request, name) is None
        }
        return request.model_copy(update=open_fields) if open_fields else request

    async def _attempt(self, request: Request, speaker: _Speaker | None) -> Completion:
        """One try; a parameter that the server does not know is left out and costs no try."""
        import aiohttp

        host = self._endpoint.host
        try:
            await self._http.admit()
            while True:
                body = self._dialect.body(request, extra=self._config.extra_body, stream=speaker is not None)
                async with self._http.session().post(
                    self._endpoint.url,
                    data=dump(body),
                    headers=self._endpoint.headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as response:
                    if 200 <= response.status < 300:
                        return await self._read(response, request, speaker)
                    raw = await read_head(response)
                    if response.status not in (400, 422) or not self._dialect.concede(
                        body, raw.decode("utf-8", "replace")
                    ):
                        raise refusal(self._endpoint, response.status, raw, response.headers)
        except aiohttp.ClientPayloadError:
            raise ModelUnavailable(f"{host} broke off in the middle of a reply.", "Try again later.") from None
        except (aiohttp.ClientError, OSError) as error:
            why = one_line(redact(str(error) or type(error).__name__, self._endpoint.secrets))
            raise ModelUnavailable(f"{host} cannot be reached: {why}.", "Check llm.api_base and the network.") from None

    async def _read(self, response: aiohttp.ClientResponse, request: Request, speaker: _Speaker | None) -> Completion:
        if speaker is not None and response.content_type == "text/event-stream":
            reply = await self._stream(response, speaker)
        else:
            raw = b"".join([piece async for piece in bounded(response)])
            reply = self._checked(raw)
            if speaker is not None:
                await speaker.say(decode(reply, request, self._endpoint.host).message.content)
        return decode(reply, request, self._endpoint.host)

    async def _stream(self, response: aiohttp.ClientResponse, speaker: _Speaker) -> Reply:
        parser, gathered = EventParser(), Gathered()
        async for piece in bounded(response):
            for data in parser.feed(piece):
                if data == b"[DONE]":
                    return gathered.reply()
                await speaker.say(gathered.add(self._checked(data)))
        for data in parser.finish():
            if data != b"[DONE]":
                await speaker.say(gathered.add(self._checked(data)))
        if gathered.finish_reason is None:
            raise ModelUnavailable(f"{self._endpoint.host} broke off in the middle of a stream.", "Try again later.")
        return gathered.reply()

    def _checked(self, raw: bytes) -> Reply:
        """A reply or a streamed piece; an error that comes with status 200 is raised as what it is."""
        for secret in self._endpoint.secrets:
            raw = raw.replace(secret.encode(), b"[secret]")
        reply = parse(raw, Reply, self._endpoint.host)
        if reply.error and not reply.choices:
            raise self._hidden_error(raw, reply)
        return reply

    def _hidden_error(self, raw: bytes, reply: Reply) -> ModelError:
        try:
            status = WireError.model_validate(reply.error).code
        except ValidationError:
            status = 0
        if 400 <= status < 600:
            return refusal(self._endpoint, status, raw, {})
        return ModelBadReply(
            f"{self._endpoint.host} sent an error instead of a reply: {one_line(complaint(raw))}",
            "Check the server's log, or try again.",
        )
