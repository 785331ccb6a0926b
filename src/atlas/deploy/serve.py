"""An OpenAI-compatible server for a small checkpoint on CPU, with log-probabilities and token ids as vLLM has them."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from atlas.config.llm import LLMConfig
from atlas.deploy.protocol import ChatAsk, TextAsk, chat_reply, request_of, text_reply
from atlas.models.generation import Sampling
from atlas.models.local import LocalModel
from atlas.schema.errors import AtlasError, ConfigError, ModelRefused, ModelTimeout

if TYPE_CHECKING:
    from aiohttp import web

MAX_BODY = 4 * 2**20
"""Bytes of a request; no context of a small model needs more."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How a checkpoint is served."""

    folder: Path
    """The checkpoint."""
    name: str
    """What clients call it."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 8008
    """Port; 0 takes a free one."""
    key: str | None = None
    """What clients must send as bearer token; None lets everybody in."""
    timeout_s: float = 120.0
    """Seconds for one answer."""
    waiting: int = 256
    """Requests that may wait; more are told to come back later."""


def make_app(options: ServeOptions) -> web.Application:
    """The server as an aiohttp application.

    Raises:
        ConfigError: the checkpoint cannot be served.
    """
    from aiohttp import web

    served = _Served(options)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[served.boundary])
    app.router.add_get("/health", served.health)
    app.router.add_get("/v1/models", served.models)
    app.router.add_post("/v1/chat/completions", served.chat)
    app.router.add_post("/v1/completions", served.text)
    app.on_cleanup.append(served.close)
    return app


async def serve(options: ServeOptions, *, on_start: Callable[[str], None]) -> None:
    """Serve until cancelled; `on_start` is told the address.

    Raises:
        ConfigError: the checkpoint cannot be served, or the port is taken.
    """
    from aiohttp import web

    runner = web.AppRunner(make_app(options), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"{options.host}:{options.port} cannot be used ({error.strerror}).", "Give --port."
            ) from error
        port = runner.addresses[0][1]
        on_start(f"http://{options.host}:{port}/v1")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


class _Served:
    """One checkpoint behind its routes."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._model = LocalModel(
            options.folder, name=options.name, config=LLMConfig(provider="local", model=options.name)
        )
        self._started = int(time.time())
        self._running = 0

    async def health(self, request: web.Request) -> web.Response:
        """Alive."""
        from aiohttp import web

        return web.json_response({"status": "ok", "model": self._options.name, "waiting": self._running})

    async def models(self, request: web.Request) -> web.Response:
        """The one model."""
        from aiohttp import web

        card = {"id": self._options.name, "object": "model", "created": self._started, "owned_by": "atlas"}
        return web.json_response({"object": "list", "data": [card]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A conversation's next message."""
        from aiohttp import web

        asked = ChatAsk.model_validate_json(await request.read())
        wanted = request_of(asked)
        prompt = self._model.prompt(wanted)
        limit = asked.max_completion_tokens or asked.max_tokens or 256
        best = (asked.top_logprobs or 0) if asked.logprobs else None
        generated = await self._model.generate(
            prompt, limit=limit, sampling=self._model.sampling(wanted), best=best, timeout_s=self._options.timeout_s
        )
        completion = self._model.completion(wanted, generated, len(prompt))
        reply = chat_reply(asked, completion, generated, prompt, self._model.tokenizer.decode)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self._options.name}
        if not asked.stream:
            return web.json_response({**head, "object": "chat.completion", **reply})
        return await _streamed(request, head, reply, usage=asked.include_usage)

    async def text(self, request: web.Request) -> web.Response:
        """A text's continuation, and how probable the text itself is."""
        from aiohttp import web

        asked = TextAsk.model_validate_json(await request.read())
        given = asked.prompt
        ids = self._model.tokenizer.encode(given) if isinstance(given, str) else list(given)
        read = None
        if asked.prompt_logprobs is not None:
            read = await self._model.read(ids, best=asked.prompt_logprobs, timeout_s=self._options.timeout_s)
        sampling = Sampling(
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=asked.seed,
        )
        generated = await self._model.generate(
            ids, limit=asked.max_tokens, sampling=sampling, best=asked.logprobs, timeout_s=self._options.timeout_s
        )
        reply = text_reply(asked, generated, ids, read, self._model.tokenizer.decode)
        head = {"id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self._options.name}
        return web.json_response({**head, "object": "text_completion", **reply})

    @property
    def boundary(self) -> Any:
        """Every request: its key, its turn, and its failure in the words of the protocol."""
        from aiohttp import web

        @web.middleware
        async def each(request: web.Request, handler: Any) -> web.StreamResponse:
            if not self._allowed(request):
                return _failed(401, "authentication_error", "The bearer token is missing or wrong.")
            if self._running >= self._options.waiting:
                return _failed(429, "overloaded", "Too many requests wait.", {"Retry-After": "1"})
            self._running += 1
            try:
                return await handler(request)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "body"
                return _failed(400, "invalid_request_error", f"{place}: {first['msg']}")
            except (ModelRefused, ConfigError) as error:
                return _failed(400, "invalid_request_error", str(error))
            except ModelTimeout as error:
                return _failed(504, "timeout", str(error))
            except AtlasError as error:
                return _failed(500, "server_error", str(error))
            except web.HTTPException as error:
                return _failed(error.status, "invalid_request_error", error.reason)
            finally:
                self._running -= 1

        return each

    def _allowed(self, request: web.Request) -> bool:
        key = self._options.key
        if key is None or request.path == "/health":
            return True
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), key.encode())

    async def close(self, app: web.Application) -> None:
        """Give the model back."""
        await self._model.close()


def _failed(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    from aiohttp import web

    body = {"error": {"message": message, "type": kind, "code": status}}
    return web.json_response(body, status=status, headers=headers)


async def _streamed(
    request: web.Request, head: dict[str, Any], reply: dict[str, Any], *, usage: bool
) -> web.StreamResponse:
    """The reply as server-sent events. A small model is done at once, so its words come in one piece."""
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    choice = reply["choices"][0]
    delta = dict(choice["message"])
    if delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(delta["tool_calls"])]
    first = {key: choice[key] for key in ("logprobs", "token_ids") if key in choice}
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **first}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
    ]
    chunks += [{"choices": [], "usage": reply["usage"]}] if usage else []
    for chunk in chunks:
        data = json.dumps({**head, "object": "chat.completion.chunk", **chunk}, ensure_ascii=False)
        await response.write(f"data: {data}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response
