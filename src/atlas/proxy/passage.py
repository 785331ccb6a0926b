"""The way of one call: read it, find its session, pass it on, look at the reply, hand it over byte for byte."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from atlas.proxy import delivery
from atlas.proxy.base import Dialect
from atlas.proxy.budget import Budget, prompt_tokens
from atlas.proxy.calls import KEY, Call, Reply, labels_of, model_of, read, without
from atlas.proxy.delivery import Broken, refused
from atlas.proxy.flight import Flight
from atlas.proxy.sessions import Sessions
from atlas.proxy.supervision import Ask, Supervision
from atlas.proxy.tariffs import Tariffs
from atlas.proxy.upstream import Unreachable, Upstream, credentials
from atlas.schema import Completion, Failure, Usage
from atlas.schema.errors import AgentError, BudgetError, ModelBadReply, ModelError

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web

log = logging.getLogger("atlas.proxy")


class Passage:
    """Passes calls on. Whatever happens to Atlas's own parts, the client gets what the upstream says."""

    def __init__(
        self,
        sessions: Sessions,
        budget: Budget,
        tariffs: Tariffs,
        *,
        token: str | None = None,
        supervision: Supervision | None = None,
    ) -> None:
        """`supervision` verifies answers of sessions outside the auto lane; without a teacher there is none."""
        self._sessions = sessions
        self._budget = budget
        self._tariffs = tariffs
        self._token = token
        self._supervision = supervision

    async def through(self, request: web.BaseRequest, upstream: Upstream, path: str, raw: bytes) -> web.StreamResponse:
        """Pass on what is no call of a model."""
        return await self._fly(request, Flight(upstream, upstream.headers(request.headers, self._token), path, raw))

    async def call(
        self, request: web.BaseRequest, upstream: Upstream, path: str, raw: bytes, dialect: Dialect
    ) -> web.StreamResponse:
        """Pass on a call of a model, as part of its session."""
        await upstream.admit()
        self._sessions.count("calls")
        flight = Flight(upstream, upstream.headers(request.headers, self._token), path, raw)
        flight.call = call = await self._read(request.headers, upstream, raw, dialect)
        try:
            self._reserve(call)
        except BudgetError as error:
            self._sessions.count("refused")
            return refused(dialect, 429, "insufficient_quota", str(error))
        try:
            if call is not None:
                flight.conversation = await self._sessions.begin(call)
            return await self._fly(request, flight)
        except (asyncio.CancelledError, ConnectionError):
            await asyncio.shield(self._left(flight))
            raise
        finally:
            self._over(flight)

    async def _read(self, headers: Mapping[str, str], upstream: Upstream, raw: bytes, dialect: Dialect) -> Call | None:
        secrets = tuple(key.encode() for key in (*credentials(headers), *upstream.secrets))
        try:
            body = read(raw)
            clean = without(raw, secrets)
            model = model_of(upstream.provider, body)
            return Call(
                dialect=dialect,
                body=body,
                raw=raw,
                request=dialect.request(body if clean is raw else read(clean)),
                model=model,
                labels=labels_of(dialect, body, headers),
                learning_key=headers.get(KEY),
                secrets=secrets,
                price=await self._tariffs.price(model, listed=upstream.prices),
            )
        except Exception as error:  # the boundary to foreign programs: what nobody can read is passed on unread
            log.info("A call is passed on unread (%s).", type(error).__name__)
            return None

    def _reserve(self, call: Call | None) -> None:
        if call is not None:
            call.reserved = self._budget.reserve(call.request, call.price)
        elif self._budget.is_bounded:
            raise BudgetError("There is a budget, and what this call may cost cannot be read.", "Send it as JSON.")

    async def _fly(self, request: web.BaseRequest, flight: Flight) -> web.StreamResponse:
        dialect = flight.call.dialect if flight.call else None
        try:
            response = await flight.upstream.send(request.method, flight.path, flight.headers, flight.sent or None)
        except Unreachable as error:
            await self._failed(flight, error.status, str(error))
            return refused(dialect, error.status, "upstream_error", str(error), session=flight.session_id)
        async with response:
            try:
                return await self._deliver(request, flight, response)
            except Broken as error:
                await self._failed(flight, 502, str(error))
                if error.begun is None:
                    return refused(dialect, 502, "upstream_error", str(error), session=flight.session_id)
                delivery.cut(request)
                return error.begun

    async def _deliver(
        self, request: web.BaseRequest, flight: Flight, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        held = self._is_held(flight)
        if held or not delivery.streams(response):
            whole = await delivery.collect(response, flight, most=delivery.most_held(held))
            if whole:
                return delivery.whole(response, await self._looked_at(flight, response, held=held), flight.session_id)

        async def before(piece: bytes) -> None:
            if flight.call is not None and any(mark in piece for mark in flight.call.dialect.ends):
                await self._finish(flight, response.status, streamed=True, tentative=True)

        begun = await delivery.begin(request, response, flight.session_id)
        await delivery.pieces(begun, response, flight, before)
        await self._finish(flight, response.status, streamed=delivery.streams(response))
        await begun.write_eof()
        return begun

    async def _looked_at(self, flight: Flight, response: aiohttp.ClientResponse, *, held: bool) -> Reply:
        """The reply that goes to the client, on record; verified where the session's lane asks for it."""
        streamed = delivery.streams(response)
        completion = await self._finish(flight, response.status, streamed=streamed)
        reply = Reply(status=response.status, raw=b"".join(flight.gathered), streamed=streamed)
        call, conversation = flight.call, flight.conversation
        if not held or completion is None or completion.message.tool_calls or not flight.recorded:
            return reply
        if call is None or conversation is None or self._supervision is None:
            return reply
        try:
            return await self._supervision.verified(conversation, call, reply, self._asker(flight))
        except Exception:  # the boundary to teacher and store: the answer stands as it is, and the log says why
            log.exception("An answer of session %s goes out unverified.", flight.session_id)
            return reply

    def _asker(self, flight: Flight) -> Ask:
        async def ask(call: Call) -> Reply:
            call.reserved = self._budget.reserve(call.request, call.price)
            usage: Usage | None = None
            try:
                response = await flight.upstream.send("POST", flight.path, flight.headers, call.raw)
                again = Flight(flight.upstream, flight.headers, flight.path, call.raw, call)
                async with response:
                    if not await delivery.collect(response, again, most=delivery.most_held(held=True)):
                        raise AgentError("The reply to the retry is too long.")
                    reply = again.reply(response.status, streamed=delivery.streams(response))
                usage = call.completion(reply).usage if response.status < 300 else None
                return reply
            except (Unreachable, Broken) as error:
                raise AgentError(str(error)) from None
            finally:
                self._budget.settle(call.reserved, usage)

        return ask

    def _is_held(self, flight: Flight) -> bool:
        if self._supervision is None or flight.conversation is None or flight.call is None:
            return False
        return self._sessions.may_hold(flight.conversation, flight.call)

    async def _finish(
        self, flight: Flight, status: int, *, streamed: bool, tentative: bool = False
    ) -> Completion | None:
        """Record what came back. A tentative look may come too early; then nothing is recorded yet."""
        call = flight.call
        if call is None or flight.told:
            return None
        reply = flight.reply(status, streamed=streamed)
        completion, failure = _read_reply(flight, call, reply)
        if failure is not None and tentative:
            return None
        flight.told = True
        if completion is not None:
            flight.usage = completion.usage
            flight.reply_id = call.dialect.reply_id(reply.raw)
        elif not 200 <= status < 300:
            flight.usage = Usage()
        if flight.conversation is not None and completion is not None:
            flight.recorded = await self._sessions.replied(flight.conversation, call, completion)
        elif flight.conversation is not None and failure is not None:
            flight.recorded = await self._sessions.failed(flight.conversation, call, failure)
        return completion

    async def _failed(self, flight: Flight, status: int, message: str) -> None:
        """Record that there was no whole reply."""
        if flight.call is None or flight.told:
            return
        flight.told = True
        kind = "ModelTimeout" if status == 504 else "ModelUnavailable"
        failure = Failure(boundary=ModelError.boundary, kind=kind, message=message)
        if flight.conversation is not None:
            flight.recorded = await self._sessions.failed(flight.conversation, flight.call, failure)

    async def _left(self, flight: Flight) -> None:
        """Record that the client left."""
        if flight.call is not None and flight.conversation is not None and not flight.told:
            flight.told = True
            flight.recorded = await self._sessions.left(flight.conversation, flight.call)

    def _over(self, flight: Flight) -> None:
        """Book what was used, and let the session wait for its next call."""
        call = flight.call
        self._sessions.count("recorded" if flight.recorded else "unrecorded")
        if call is None:
            return
        if flight.usage is None:  # it broke off: what was read and written until then has to be paid for
            written = flight.reply(200, streamed=True).raw.count(b"data:")
            flight.usage = Usage(prompt_tokens=prompt_tokens(call.request), completion_tokens=written)
        cost = flight.usage.model_copy(update={"cost_usd": call.price(flight.usage)})
        self._budget.settle(call.reserved, cost)
        if flight.conversation is not None:
            self._sessions.end_call(flight.conversation, call, flight.reply_id)


def _read_reply(flight: Flight, call: Call, reply: Reply) -> tuple[Completion | None, Failure | None]:
    """The completion, or why there is none."""
    if not 200 <= reply.status < 300:
        return None, call.failure(flight.upstream.host, reply)
    if flight.is_too_long:
        return None, Failure.of(ModelBadReply("The reply is too long to be looked at."))
    try:
        return call.completion(reply), None
    except ModelError as error:
        return None, Failure.of(error)
    except Exception as error:  # the boundary to foreign servers: what nobody can read is recorded as such
        return None, Failure.of(ModelBadReply(f"The reply cannot be read ({type(error).__name__})."))
