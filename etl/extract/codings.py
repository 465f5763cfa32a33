"""Content codings of HTTP (RFC 9110, 8.4.1), decoded piece by piece.

Whoever counts the pieces can stop a bomb before it bursts: a piece is never larger than PIECE.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator

PIECE = 2**18  # bytes decoded at once
MAX_CODINGS = 4  # one over the other; honest answers have one

Pieces = Iterable[bytes]

_GZIP = zlib.MAX_WBITS | 16
_ZLIB, _RAW_DEFLATE = zlib.MAX_WBITS, -zlib.MAX_WBITS


class UnknownCoding(ValueError):
    """A body in a coding that was not requested."""


class BrokenCoding(ValueError):
    """A body that is not whole, or not in the coding that its header names."""


def decoded(pieces: Pieces, content_encoding: str) -> Iterator[bytes]:
    """The decoded body; pieces may be empty, so that a caller can watch its deadline.

    Raises UnknownCoding and BrokenCoding.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    unknown = [name for name in codings if name not in _DECODERS]
    if unknown:
        raise UnknownCoding(f"its content coding is {unknown[0][:40]!r}; etl requests gzip")
    if len(codings) > MAX_CODINGS:
        raise UnknownCoding(f"it has {len(codings)} content codings, one over the other")
    for name in reversed(codings):
        pieces = _DECODERS[name](pieces)
    yield from pieces


def _gunzipped(pieces: Pieces) -> Iterator[bytes]:
    """Of gzip with any number of members (RFC 1952, 2.2); zeros behind the last one are padding."""
    unpacker, begun = zlib.decompressobj(_GZIP), False
    for piece in pieces:
        rest = piece
        while rest:
            if unpacker.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                unpacker = zlib.decompressobj(_GZIP)
            begun = True
            yield _unpacked(unpacker, rest)
            rest = _rest(unpacker)
    if begun:
        yield from _end(unpacker)


def _inflated(pieces: Pieces) -> Iterator[bytes]:
    """Of deflate with the header of zlib, as RFC 9110 says, or without one, as many send it."""
    unpacker, head = None, b""
    for piece in pieces:
        rest = piece
        if unpacker is None:
            rest = head = head + piece
            if len(head) < 2:
                continue
            unpacker = zlib.decompressobj(_ZLIB if _is_zlib(head) else _RAW_DEFLATE)
        while rest:
            if unpacker.eof:
                raise BrokenCoding("bytes follow the end of the packed body")
            yield _unpacked(unpacker, rest)
            rest = _rest(unpacker)
    if unpacker is not None:
        yield from _end(unpacker)
    elif head:
        raise BrokenCoding(_NOT_WHOLE)


_DECODERS: dict[str, Callable[[Pieces], Iterator[bytes]]] = {
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "deflate": _inflated,
}
_NOT_WHOLE = "the packed body is not whole"


def _unpacked(unpacker: "zlib._Decompress", packed: bytes) -> bytes:
    try:
        return unpacker.decompress(packed, PIECE)
    except zlib.error as error:
        raise BrokenCoding(str(error)) from error


def _rest(unpacker: "zlib._Decompress") -> bytes:
    return unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail


def _end(unpacker: "zlib._Decompress") -> Iterator[bytes]:
    """What a full piece held back at the end of the input."""
    while not unpacker.eof and (piece := _unpacked(unpacker, b"")):
        yield piece
    if not unpacker.eof:
        raise BrokenCoding(_NOT_WHOLE)


def _is_zlib(head: bytes) -> bool:
    """Whether these first two bytes are a header of zlib (RFC 1950, 2.2)."""
    return head[0] & 0x0F == zlib.DEFLATED and (head[0] << 8 | head[1]) % 31 == 0
