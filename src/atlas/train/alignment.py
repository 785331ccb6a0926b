"""Two tokenizations of one text, cut where both begin a token: what distillation across tokenizers compares.

At a piece that is one token for both, whole next-token distributions are compared over the tokens that both
vocabularies have, the rest as one outcome. A longer piece is compared as a whole: its probability is the product over
its tokens, against anything else. Both are coarser views of the same two models, so the divergence of a model from
itself stays 0. Source: the problem and its first answer, Boizard et al., arXiv 2402.12030.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from atlas.models.tokenizer import Tokenizer


class Piece(NamedTuple):
    """A piece of text as token ranges of both sides."""

    start: int
    """First token of the one."""
    stop: int
    """Behind its last."""
    other_start: int
    """First token of the other."""
    other_stop: int
    """Behind its last."""


def align(lengths: Sequence[int], others: Sequence[int]) -> list[Piece]:
    """The shortest pieces, in order, of two tokenizations of the same bytes, given each token's length in bytes.

    Tokens of no bytes belong to the piece before them. Where one text is longer, what is over is left out.
    """
    ends, other_ends = _ends(lengths), _ends(others)
    shared = sorted(set(ends) & set(other_ends))
    pieces: list[Piece] = []
    start = other_start = 0
    for end in shared:
        stop, other_stop = ends[end], other_ends[end]
        pieces.append(Piece(start, stop, other_start, other_stop))
        start, other_start = stop, other_stop
    return pieces


def _ends(lengths: Sequence[int]) -> dict[int, int]:
    """Byte offset -> number of tokens up to there, the most where tokens of no bytes follow."""
    ends: dict[int, int] = {}
    offset = 0
    for number, length in enumerate(lengths, start=1):
        offset += length
        ends[offset] = number
    ends.pop(0, None)
    return ends


def shared_tokens(one: Tokenizer, other: Tokenizer) -> list[tuple[int, int]]:
    """Ids of the tokens that both vocabularies have, as pairs in the order of the first ids."""
    known = {raw: index for index, raw in other.byte_tokens().items()}
    return sorted((index, known[raw]) for index, raw in one.byte_tokens().items() if raw in known)
