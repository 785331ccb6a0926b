"""Server-sent events (WHATWG HTML, section 9.2) and the chat reply that streams in them."""

from __future__ import annotations

from atlas.models.wire import Call, Choice, FunctionCall, Logprobs, Reply, Said, TokenLogprob


class EventParser:
    """Splits a byte stream into the data of its events, whatever the pieces and however long the lines."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._seen = 0
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of every event that this piece completes."""
        self._rest += piece
        done: list[bytes] = []
        start = 0
        while (end := self._rest.find(b"\n", max(start, self._seen))) >= 0:
            self._line(bytes(self._rest[start:end]).rstrip(b"\r"), done)
            start = end + 1
        del self._rest[:start]
        self._seen = len(self._rest)
        return done

    def finish(self) -> list[bytes]:
        """The data of a last event that the server did not close with an empty line."""
        return self.feed(b"\n\n")

    def _line(self, line: bytes, done: list[bytes]) -> None:
        if not line:
            if self._data:
                done.append(b"\n".join(self._data))
                self._data.clear()
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))


class Gathered:
    """Puts the streamed pieces of one reply together."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[Call] = []
        self._arguments: list[list[str]] = []
        self._slots: dict[int | None, int] = {}
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._usage: object = None
        self._model: str | None = None

    def add(self, piece: Reply) -> str:
        """Take one piece; the text that is new in it."""
        self._model = self._model or piece.model
        self._usage = piece.usage or self._usage
        if not piece.choices:
            return ""
        choice = piece.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        self._token_ids += choice.token_ids or ()
        if choice.logprobs and choice.logprobs.content:
            self._logprobs += choice.logprobs.content
        said = choice.delta
        self._refusal.append(said.refusal or "")
        for call in said.tool_calls or ():
            self._add_call(call)
        self._text.append(said.content or "")
        return self._text[-1]

    def _add_call(self, piece: Call) -> None:
        """A piece continues the call of its index, unless it brings another id, or a name where no index is given."""
        slot = self._slots.get(piece.index)
        known = None if slot is None else self._calls[slot]
        if (
            slot is None
            or known is None
            or (piece.id and known.id and piece.id != known.id)
            or (piece.index is None and piece.function.name)
        ):
            slot = self._slots[piece.index] = len(self._calls)
            self._calls.append(piece)
            self._arguments.append([])
        self._arguments[slot].append(piece.function.arguments or "")

    def reply(self) -> Reply:
        """The whole reply, as if it had not been streamed."""
        calls = [
            Call(id=call.id, function=FunctionCall(name=call.function.name, arguments="".join(arguments)))
            for call, arguments in zip(self._calls, self._arguments, strict=True)
        ]
        said = Said(content="".join(self._text), refusal="".join(self._refusal) or None, tool_calls=calls or None)
        choice = Choice(
            message=said,
            finish_reason=self.finish_reason,
            token_ids=self._token_ids or None,
            logprobs=Logprobs(content=self._logprobs) if self._logprobs else None,
        )
        return Reply(choices=[choice], model=self._model, usage=self._usage)
