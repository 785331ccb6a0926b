"""A body as it was before it was packed, never larger than allowed."""

from __future__ import annotations

import zlib

from atlas.ingest.spans import Unreadable

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Packings that are understood, and what zlib calls them."""


class TooLarge(ValueError):
    """The body is larger than allowed once it is unpacked."""


def unpacked(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """The body without its packing; `encoding` is a Content-Encoding that is understood, or empty.

    Raises:
        TooLarge: it would be larger than `most_bytes`.
        Unreadable: it is damaged or incomplete.
    """
    if encoding not in WINDOWS:
        return body
    parts: list[bytes] = []
    left, rest = most_bytes, body
    try:
        while rest:  # a gzip file may have several members
            unpacker = zlib.decompressobj(wbits=WINDOWS[encoding])
            parts.append(unpacker.decompress(rest, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise TooLarge
            if not unpacker.eof:
                raise Unreadable("the packed body is incomplete")
            rest = unpacker.unused_data
    except zlib.error:
        raise Unreadable(f"the body is not packed with {encoding}") from None
    return b"".join(parts)
