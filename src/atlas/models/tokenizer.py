"""A byte-level BPE tokenizer that reads the `tokenizer.json` of the Hugging Face format.

It implements the kind that Atlas ships: a BPE model, one `Split` pattern, the byte-level alphabet, and added tokens
that stand for themselves. Source: Sennrich et al. 2016 (BPE); Radford et al. 2019 (bytes as the alphabet).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from atlas.models.text import scrub
from atlas.schema.errors import ConfigError

GUARD = "\uffff"
"""A noncharacter that `shield` puts into untrusted text and `encode_chat` takes out again."""


def byte_alphabet() -> dict[int, str]:
    """A visible character for each byte, as the byte-level alphabet has it."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    alphabet = {byte: chr(byte) for byte in visible}
    hidden = (byte for byte in range(256) if byte not in alphabet)
    return alphabet | {byte: chr(256 + offset) for offset, byte in enumerate(hidden)}


class Tokenizer:
    """Text to token ids and back. Every text has ids; decoding them gives the text again."""

    def __init__(
        self, vocabulary: dict[str, int], merges: Iterable[tuple[str, str]], *, pattern: str, added: dict[str, int]
    ) -> None:
        """`pattern` splits text into pieces that merges never cross; `added` tokens stand for themselves."""
        self._ids = vocabulary
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._pattern = re.compile(pattern)
        self._added = added
        self._split_added = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or r"(?!)")
        self._letters = byte_alphabet()
        byte_of = {letter: byte for byte, letter in self._letters.items()}
        self._bytes = {
            index: bytes(byte_of[char] for char in token) for token, index in vocabulary.items() if token not in added
        }
        self._bytes |= {index: token.encode() for token, index in added.items()}
        self._pieces: dict[str, tuple[int, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """The tokenizer in a `tokenizer.json`.

        Raises:
            ConfigError: the file is missing, damaged, or of a kind that is not supported.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_text("utf-8"))
            splits = [part for part in data["pre_tokenizer"]["pretokenizers"] if part["type"] == "Split"]
            if data["model"]["type"] != "BPE" or len(splits) != 1 or data.get("normalizer"):
                raise ConfigError(
                    f"{path} is a kind of tokenizer that Atlas does not run.", "Serve it with vLLM instead."
                )
            pairs: list[list[str]] = [
                pair.split(" ") if isinstance(pair, str) else pair for pair in data["model"]["merges"]
            ]
            return cls(
                data["model"]["vocab"],
                [(left, right) for left, right in pairs],
                pattern=splits[0]["pattern"]["Regex"],
                added={token["content"]: token["id"] for token in data["added_tokens"]},
            )
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Check the checkpoint's folder.") from error
        except (ValueError, KeyError, TypeError, re.error) as error:
            raise ConfigError(f"{path} is damaged.", "Copy the checkpoint again.") from error

    def __len__(self) -> int:
        return len(self._bytes)

    def byte_tokens(self) -> dict[int, bytes]:
        """The bytes that each id stands for."""
        return dict(self._bytes)

    def id_of(self, token: str) -> int:
        """The id of an added token.

        Raises:
            ConfigError: there is no such token.
        """
        if token not in self._added:
            raise ConfigError(f"The tokenizer has no token {token}.", "Use the tokenizer of this checkpoint.")
        return self._added[token]

    def encode(self, text: str, *, added: bool = True) -> list[int]:
        """Token ids; `added` says whether text that spells an added token becomes that token."""
        ids: list[int] = []
        start = 0
        for match in self._split_added.finditer(text) if added else ():
            self._plain(text[start : match.start()], ids)
            ids.append(self._added[match.group()])
            start = match.end()
        self._plain(text[start:], ids)
        return ids

    def shield(self, text: str) -> str:
        """Untrusted text, marked so that `encode_chat` never reads an added token in it."""
        text = text.replace(GUARD, GUARD + "g")
        return self._split_added.sub(lambda match: match.group()[0] + GUARD + "s" + match.group()[1:], text)

    def encode_chat(self, text: str) -> list[int]:
        """Token ids of a rendered conversation whose untrusted parts were shielded."""
        if GUARD not in text:
            return self.encode(text)
        ids: list[int] = []
        start = 0
        for match in self._split_added.finditer(text):
            self._plain(_unshield(text[start : match.start()]), ids)
            ids.append(self._added[match.group()])
            start = match.end()
        self._plain(_unshield(text[start:]), ids)
        return ids

    def decode(self, ids: Iterable[int], *, added: bool = True) -> str:
        """The text of token ids, without added tokens when `added` is False."""
        special = set(self._added.values())
        return b"".join(self._bytes[i] for i in ids if added or i not in special).decode("utf-8", "replace")

    def _plain(self, text: str, ids: list[int]) -> None:
        for match in self._pattern.finditer(text):
            piece = match.group()
            known = self._pieces.get(piece)
            if known is None:
                known = self._merge(piece)
                if len(piece) <= 32 and len(self._pieces) < 50_000:
                    self._pieces[piece] = known
            ids.extend(known)

    def _merge(self, piece: str) -> tuple[int, ...]:
        """BPE within one piece: join the pair that was learnt first, leftmost first, until none is left."""
        raw = scrub(piece).encode()
        parts = [self._letters[byte] for byte in raw]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, 1 << 30) for pair in pairwise(parts)]
            best = min(ranks)
            if best == 1 << 30:
                break
            joined: list[str] = []
            at = 0
            while at < len(parts):
                if at < len(ranks) and ranks[at] == best:
                    joined.append(parts[at] + parts[at + 1])
                    at += 2
                else:
                    joined.append(parts[at])
                    at += 1
            parts = joined
        return tuple(self._ids[part] for part in parts)


def _unshield(text: str) -> str:
    return text.replace(GUARD + "s", "").replace(GUARD + "g", GUARD)
