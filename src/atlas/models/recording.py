"""A whole session's calls, for a replay: what they do not hold is asked of nobody."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from atlas.models.caller import Journal, Place
from atlas.schema import Completion, Event, ToolCall, ToolUse, errors
from atlas.schema.errors import ModelError, ModelRefused
from atlas.schema.events import Failure, ModelCalled, ModelFailed

CHANGED = "Something in front of it has changed: a prompt, a playbook, a tool or the configuration."


class Recording(Journal):
    """A journal that is the only source there is. Recorded failures fail again, each where it did."""

    def __init__(self, events: Iterable[Event]) -> None:
        events = list(events)
        super().__init__(events)
        self._replies: dict[str, deque[Completion | Failure]] = defaultdict(deque)
        for event in events:
            if isinstance(event.body, ModelCalled):
                self._replies[event.body.request_hash].append(event.body.completion)
            elif isinstance(event.body, ModelFailed):
                self._replies[event.body.request_hash].append(event.body.failure)

    def completion(self, request_hash: str) -> Completion:
        """The recorded answer.

        Raises:
            ModelError: the recorded failure, or that the request is not in the recording.
        """
        waiting = self._replies.get(request_hash)
        if not waiting:
            raise ModelRefused(f"The recording has no answer to request {request_hash[:12]}.", CHANGED)
        reply = waiting.popleft()
        if isinstance(reply, Completion):
            return reply
        kind = getattr(errors, reply.kind, ModelError)
        raise kind(reply.message)

    def tool_use(self, place: Place, call: ToolCall) -> ToolUse:
        """The recorded result.

        Raises:
            ModelRefused: the call is not in the recording.
        """
        use = super().tool_use(place, call)
        if use is None:
            raise ModelRefused(f"The recording has no call {call.name}({call.arguments[:100]}).", CHANGED)
        return use
