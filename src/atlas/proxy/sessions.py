"""Calls become sessions: begun, continued, ended when no further call comes, then judged and learnt from.

Nothing in here may cost the client its answer: what fails or hangs is cut short, told once, and the call goes on alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, TypeVar, cast
from weakref import WeakValueDictionary

from atlas.proxy.base import Counts, ProxyRules
from atlas.proxy.calls import Call
from atlas.proxy.conversation import LEFT, Conversation
from atlas.proxy.grouping import Grouping, Labels
from atlas.proxy.shelf import Shelf
from atlas.runtime import Runtime
from atlas.schema import Completion, Failure, Lane, Message, Task
from atlas.schema.errors import AtlasError, StoreError
from atlas.schema.events import Degraded, Finished, Learnt

PATIENCE_S = 0.8
"""Longest that Atlas's own parts may hold up a call, each time they are asked."""
PROBE_S = 30.0
"""The same where a call may wait for the probe's word on the lane."""
OPENING_S = 10.0
"""How long a start waits for the store."""
REST_S = 5.0
"""After a failure of its own parts the proxy passes calls on unrecorded for so long."""
REPAIRS = 20
"""How often a session is offered to a store that did not take it."""
JUDGING = 4
"""Sessions that are judged at the same time."""
HISTORY = 50
"""Outcomes of a key that the router reads."""
LONGEST_NAME = 200
"""Characters of a client's own name of a session or key."""

FLOWS = Failure(boundary="config", kind="ConfigError", message="proxy.buffer_streams is off.")
PLANLESS = Failure(boundary="agent", kind="AgentError", message="Only the agent behind the proxy could plan.")

log = logging.getLogger("atlas.proxy")
T = TypeVar("T")
Counted = Literal["calls", "recorded", "unrecorded", "refused", "sessions"]


class Sessions:
    """The open sessions of one proxy."""

    def __init__(self, open_runtime: Callable[[], Awaitable[Runtime]], rules: ProxyRules) -> None:
        """`open_runtime` is asked again and again until the store is up."""
        self._open_runtime = open_runtime
        self._rules = rules
        self._runtime: Runtime | None = None
        self._shelf: Shelf | None = None
        self._grouping = Grouping()
        self._open: OrderedDict[Conversation, asyncio.TimerHandle | None] = OrderedDict()
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._behind: set[asyncio.Task[Any]] = set()
        self._judging = asyncio.Semaphore(JUDGING)
        self._rests_until = 0.0
        self._numbers: Counter[str] = Counter()
        self._state = "opening"

    async def open(self) -> None:
        """Open the store; where it is away, calls are passed on unrecorded until it is back.

        Raises:
            ConfigError: what the configuration names is unusable.
        """
        opening = asyncio.ensure_future(self._open_runtime())
        await asyncio.wait([opening], timeout=OPENING_S)
        if not opening.done():
            self._opens_later(opening, f"The store did not open within {OPENING_S:g} s.")
        elif isinstance(error := opening.exception(), StoreError):
            self._opens_later(None, str(error))
        else:
            self._runs(opening.result())

    def count(self, what: Counted) -> None:
        """Note what became of a call."""
        self._numbers[what] += 1

    def counts(self) -> Counts:
        """The counts at this moment."""
        return Counts(**self._numbers, open_sessions=len(self._open), store=self._state)

    async def begin(self, call: Call) -> Conversation | None:
        """The session of a call, with what is new in it on record; None where Atlas cannot keep up."""
        if self._runtime is None:
            return None
        patience = PROBE_S if self._rules.lanes == "routed" else PATIENCE_S
        conversation = await self._guarded(self._begin(self._runtime, call), patience)
        if conversation is not None:
            call.heard = conversation.heard
            recalled = conversation.guest.scene.student_memory
            call.teach(recalled)
        return conversation

    def may_hold(self, conversation: Conversation, call: Call) -> bool:
        """Whether the answer to this call may wait for the teacher."""
        return conversation.guest.route.lane != "auto" and (self._rules.buffer_streams or not call.streams)

    async def replied(self, conversation: Conversation, call: Call, completion: Completion) -> bool:
        """Record a reply before the client has all of it; whether that was possible."""

        async def tell() -> bool:
            await conversation.replied(call.called(conversation.place, completion))
            return True

        return await self._told(conversation, tell())

    async def failed(self, conversation: Conversation, call: Call, failure: Failure) -> bool:
        """Record that there was no reply; whether that was possible."""

        async def tell() -> bool:
            await conversation.failed(call.failed(conversation.place, failure))
            return True

        return await self._told(conversation, tell())

    async def left(self, conversation: Conversation, call: Call) -> bool:
        """Record that the client did not wait for the reply."""
        failure = Failure(boundary="model", kind=LEFT, message="The client left before the reply was complete.")
        return await self.failed(conversation, call, failure)

    def end_call(self, conversation: Conversation, call: Call, reply_id: str | None) -> None:
        """A call is over: wait for the next one."""
        conversation.under_way -= 1
        if conversation not in self._open:
            return
        if reply_id is not None:
            self._grouping.name(conversation, Labels(others=(f"reply {reply_id}",)))
        if conversation.under_way == 0:
            wait_s = self._rules.silent_s if conversation.works else self._rules.answered_s
            self._open[conversation] = asyncio.get_running_loop().call_later(wait_s, self._end, conversation)
            self._open.move_to_end(conversation)
        if len(self._open) > self._rules.most_open:
            self._end(next((each for each in self._open if each.under_way == 0), conversation))

    async def settle(self) -> None:
        """End every session and wait until all are judged and learnt from."""
        for conversation in list(self._open):
            self._end(conversation)
        while self._behind:
            await asyncio.wait(list(self._behind))

    async def close(self, *, patience_s: float) -> None:
        """Settle within some seconds, then give back the runtime."""
        if self._runtime is None:
            for task in self._behind:
                task.cancel()
        try:
            async with asyncio.timeout(patience_s):
                await self.settle()
        except TimeoutError:
            log.error("%d sessions are left unjudged.", len(self._behind))
            for task in self._behind:
                task.cancel()
        if self._shelf is not None:
            await self._shelf.close()
        if self._runtime is not None:
            await self._runtime.close()

    def _runs(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._shelf = Shelf(runtime.store, history=HISTORY)
        self._state = "up"

    def _opens_later(self, opening: asyncio.Future[Runtime] | None, why: str) -> None:
        log.error("Nothing is recorded yet: %s", why)
        self._state = why
        self._behind_calls(self._open_later(opening))

    async def _open_later(self, opening: asyncio.Future[Runtime] | None) -> None:
        while self._runtime is None:
            if opening is None:
                await asyncio.sleep(REST_S)
            try:
                self._runs(await (opening or self._open_runtime()))
                log.warning("Calls are recorded from now on.")
            except AtlasError as error:
                self._state, opening = str(error), None

    async def _begin(self, runtime: Runtime, call: Call) -> Conversation:
        door = self._door(call.labels.session)
        async with door:
            known = cast("Conversation | None", self._grouping.find(call.labels, call.request.messages))
            conversation = known or await self._new(runtime, call)
            conversation.under_way += 1
            timer = self._open.get(conversation)
            if timer is not None:
                timer.cancel()
            self._open[conversation] = None
            self._grouping.name(conversation, call.labels)
        try:
            call.goes_on_from(conversation.heard)
            await conversation.listen(call.request.messages)
            self._grouping.keep(conversation)
        except BaseException:
            conversation.under_way -= 1
            self._drop(conversation)
            raise
        return conversation

    async def _new(self, runtime: Runtime, call: Call) -> Conversation:
        shelf = cast("Shelf", self._shelf)
        rules = self._rules
        task = Task(
            prompt=_asked(call.request.messages),
            learning_key=(call.learning_key or rules.learning_key)[:LONGEST_NAME],
            tenant=rules.tenant,
        )
        known = await shelf.known(task)
        named = {"session": call.labels.session[:LONGEST_NAME]} if call.labels.session else {}
        lane: Lane | None = None if rules.lanes == "routed" else rules.lanes
        flows = call.streams and not rules.buffer_streams
        guest = await runtime.receive(
            task,
            policy=f"student={call.model}" + (f";teacher={rules.teacher}" if rules.teacher else ""),
            lane="auto" if flows else lane,
            metadata={"source": "proxy", **named},
            background=known.background,
        )
        if known.failure is not None:
            await guest.trace.record(Degraded(what="no memory and no history", failure=known.failure))
        if flows and lane != "auto":
            await guest.trace.record(Degraded(what="an answer that streams goes out unverified", failure=FLOWS))
        elif guest.route.lane == "coach":
            await guest.trace.record(Degraded(what="the answer is verified; there is no plan", failure=PLANLESS))
        self.count("sessions")
        return Conversation(guest)

    def _door(self, session: str | None) -> asyncio.Lock:
        """Calls that name the same session enter one by one, so that only one of them begins it."""
        if session is None:
            return asyncio.Lock()
        door = self._doors.get(session)
        if door is None:
            door = self._doors[session] = asyncio.Lock()
        return door

    async def _told(self, conversation: Conversation, work: Coroutine[Any, Any, bool]) -> bool:
        if await self._guarded(work, PATIENCE_S):
            return True
        self._drop(conversation)
        return False

    async def _guarded(self, work: Coroutine[Any, Any, T], patience_s: float) -> T | None:
        """The work's result; None where it failed, hung, or is not tried because it did so a moment ago."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            work.close()
            return None
        try:
            async with asyncio.timeout(patience_s):
                done = await work
        except Exception as error:  # the boundary between a client's call and Atlas's own parts: told once, here
            self._rests_until = loop.time() + REST_S
            self._state = f"{type(error).__name__}: {error}"
            log.error("Calls are passed on unrecorded for %g s (%s).", REST_S, self._state)
            return None
        self._state = "up"
        return done

    def _drop(self, conversation: Conversation) -> None:
        """The record of this session has a hole: it takes no further call, and is offered to the store later."""
        timer = self._open.pop(conversation, None)
        if timer is not None:
            timer.cancel()
        self._grouping.forget(conversation)
        self._behind_calls(self._repair(conversation))

    async def _repair(self, conversation: Conversation) -> None:
        runtime = cast("Runtime", self._runtime)
        trace = conversation.guest.trace
        for _ in range(REPAIRS):
            await asyncio.sleep(REST_S)
            try:
                async with asyncio.timeout(REST_S):
                    await runtime.store.append(trace.events)
                    if not isinstance(trace.events[-1].body, Finished):
                        await trace.record(Finished(status="interrupted"))
            except (StoreError, TimeoutError) as error:
                log.error("Session %s is not whole in the store: %s", trace.session_id, error)
            else:
                return

    def _end(self, conversation: Conversation) -> None:
        timer = self._open.pop(conversation, None)
        if timer is not None:
            timer.cancel()
        self._grouping.forget(conversation)
        self._behind_calls(self._settle(conversation))

    async def _settle(self, conversation: Conversation) -> None:
        """Finish, judge and learn. What fails here has no caller that waits."""
        async with self._judging:
            try:
                if await conversation.finish():
                    await conversation.guest.settle()
                    if any(isinstance(event.body, Learnt) for event in conversation.guest.trace.events):
                        cast("Shelf", self._shelf).renew(conversation.guest.scene.task)
            except StoreError as error:
                log.error("Session %s is not judged: %s", conversation.guest.trace.session_id, error)
            except Exception:  # the boundary to judges and memory of any kind: the proxy lives on, the log says where
                log.exception("Session %s is not judged.", conversation.guest.trace.session_id)

    def _behind_calls(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


def _asked(messages: tuple[Message, ...]) -> str:
    """What the agent was asked: the user's last words; where it begins in the middle of its work, also."""
    said = [message.content for message in messages if message.role == "user"]
    return said[-1] if said else ""
