"""Who tells the distribution that a student is to have: a checkpoint, or a server that returns log-probabilities."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from atlas.models import HttpPool
from atlas.schema.errors import ModelBadReply, ModelUnavailable, TrainError
from atlas.train.alignment import align, shared_tokens
from atlas.train.encoding import Codec
from atlas.train.network import Llama
from atlas.train.rows import Row, Span, Target, learnt_logits, pad


class View(NamedTuple):
    """A reply as the teacher reads it: the student's very tokens, behind the teacher's own prompt."""

    prompt: list[int]
    """Tokens of the teacher's prompt, in its own tokenizer."""
    reply: list[int]
    """Tokens of the reply, in the student's tokenizer."""


class Teacher(Protocol):
    """Tells its distribution at each token of a student's reply."""

    codec: Codec
    """Its own tokenizer and template."""

    async def targets(self, views: Sequence[View]) -> list[Target]:
        """One target for each view.

        Raises:
            TrainError: it cannot be asked, or what it tells cannot be used.
        """
        ...


@dataclass
class LocalTeacher:
    """A checkpoint in memory. Across tokenizers it reads the reply's text in its own tokens, aligned by pieces."""

    network: Llama
    codec: Codec
    student: Codec
    temperature: float = 1.0
    micro_batch: int = 32
    shared: list[tuple[int, int]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        own, other = self.codec.tokenizer.byte_tokens(), self.student.tokenizer.byte_tokens()
        self._bytes, self._student_bytes = own, other
        if own != other:
            self.shared = shared_tokens(self.student.tokenizer, self.codec.tokenizer)
            if not self.shared:
                raise TrainError("Teacher and student have no token in common.", "Use tokenizers of the same alphabet.")

    async def targets(self, views: Sequence[View]) -> list[Target]:
        """See `Teacher.targets`."""
        replies = [view.reply if self.shared is None else self._read_again(view.reply) for view in views]
        rows = [_row(view.prompt, reply) for view, reply in zip(views, replies, strict=True)]
        told: list[Target] = []
        for start in range(0, len(rows), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            logp = self._logp(rows[part])
            at = 0
            for view, reply in zip(views[part], replies[part], strict=True):
                mine = logp[at : at + len(reply)]
                at += len(reply)
                told.append(Target(mine) if self.shared is None else self._aligned(view.reply, reply, mine))
        return told

    @torch.no_grad()
    def _logp(self, rows: Sequence[Row]) -> torch.Tensor:
        device = next(self.network.parameters()).device
        return (learnt_logits(self.network, pad(rows, device)) / self.temperature).log_softmax(-1)

    def _read_again(self, reply: Sequence[int]) -> list[int]:
        """The reply's text in the teacher's tokens. Control tokens of the same name stay what they are."""
        raw = b"".join(self._student_bytes[i] for i in reply)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:  # What follows half a character cannot be compared.
            text = raw[: error.start].decode("utf-8")
        return self.codec.tokenizer.encode(text)

    def _aligned(self, reply: Sequence[int], own: Sequence[int], logp_TV: torch.Tensor) -> Target:
        """The target by pieces; the teacher's distribution at each over the shared tokens."""
        assert self.shared is not None
        pieces = align([len(self._student_bytes[i]) for i in reply], [len(self._bytes[i]) for i in own])
        spans = tuple(
            Span(
                piece.start,
                piece.stop - piece.start,
                piece.other_stop - piece.other_start,
                float(sum(logp_TV[at, own[at]] for at in range(piece.other_start, piece.other_stop))),
            )
            for piece in pieces
        )
        places = torch.tensor([piece.other_start for piece in pieces], dtype=torch.long)
        others = torch.tensor([other for _, other in self.shared])
        ids = torch.tensor([own_id for own_id, _ in self.shared]).expand(len(pieces), -1)
        return Target(logp_TV[places][:, others], ids, spans)


@dataclass
class ServerTeacher:
    """An OpenAI-compatible server with vLLM's `prompt_logprobs`: `atlas serve`, or vLLM. Same tokenizer only."""

    url: str
    codec: Codec
    model: str = "teacher"
    top_k: int = 20
    timeout_s: float = 120.0

    async def targets(self, views: Sequence[View]) -> list[Target]:
        """See `Teacher.targets`."""
        pool = HttpPool()
        try:
            return list(await asyncio.gather(*(self._target(pool, view) for view in views)))
        except (ModelUnavailable, ModelBadReply) as error:
            raise TrainError(f"The teacher at {self.url} gave nothing usable: {error.message}", error.remedy) from error
        finally:
            await pool.close()

    async def _target(self, pool: HttpPool, view: View) -> Target:
        ids = [*view.prompt, *view.reply]
        body = {"model": self.model, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": self.top_k}
        tree = await _posted(pool, f"{self.url.rstrip('/')}/completions", body, self.timeout_s)
        try:
            told = tree["choices"][0]["prompt_logprobs"][len(view.prompt) : len(ids)]
            best = [sorted(((float(v["logprob"]), int(k)) for k, v in at.items()), reverse=True) for at in told]
            count = min(self.top_k, *(len(at) for at in best))
            if len(best) != len(view.reply) or count < 1 or any(not math.isfinite(at[0][0]) for at in best):
                raise ValueError("it tells too little")
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ModelBadReply(
                f"its prompt_logprobs cannot be read ({error}).", "Use `atlas serve`, or vLLM with --max-logprobs."
            ) from error
        logp = torch.tensor([[value for value, _ in at[:count]] for at in best])
        return Target(logp, torch.tensor([[index for _, index in at[:count]] for at in best]))


async def _posted(pool: HttpPool, url: str, body: dict[str, Any], timeout_s: float) -> Any:
    """The JSON that a server answers.

    Raises:
        ModelUnavailable: it cannot be reached, is too slow, or says no.
        ModelBadReply: its answer is no JSON.
    """
    import aiohttp

    from atlas.models.http import bounded

    try:
        async with asyncio.timeout(timeout_s), pool.session().post(url, json=body) as response:
            raw = b"".join([piece async for piece in bounded(response)])
            if response.status != 200:
                raise ModelUnavailable(f"it answered {response.status}: {raw[:200].decode('utf-8', 'replace')}.")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ModelUnavailable(f"it cannot be reached ({type(error).__name__}).", "Start it, or name it.") from error
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ModelBadReply("its answer is no JSON.") from error


def _row(prompt: Sequence[int], reply: Sequence[int]) -> Row:
    learn = np.zeros(len(prompt) + len(reply), np.float32)
    learn[len(prompt) :] = 1.0
    return Row(ids=np.array([*prompt, *reply], np.int64), imitate=learn)
