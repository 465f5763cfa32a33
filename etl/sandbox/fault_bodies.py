"""Faults in the bytes of a right answer, or in the way they are sent."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from etl.sandbox.message import Reply

Spoil = Callable[[Reply, Any], Reply]  # the right answer and the fault's argument

BOM = b"\xef\xbb\xbf"
BLANKS = b" " * (1 << 20)
GZIP = zlib.MAX_WBITS | 16
NAMES = (b'"name":"', b'"description":"', b'"id":"')  # where garbage goes, the first there is


def garbled(reply: Reply, arg: Any) -> Reply:
    """Garbage at the start of the first name: bytes as they are, text as JSON escapes."""
    garbage = arg if isinstance(arg, bytes) else json.dumps(arg)[1:-1].encode()
    mark = next((name for name in NAMES if name in reply.body), b"{")
    return replace(reply, body=reply.body.replace(mark, mark + garbage, 1))


def bomb(reply: Reply, arg: Any) -> Reply:
    """So many bytes, most of them white space, in a small gzip stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    missing = max(0, int(arg) - len(reply.body))
    packed = [
        packer.compress(BLANKS[: missing - start]) for start in range(0, missing, len(BLANKS))
    ]
    packed += [packer.compress(reply.body), packer.flush()]
    headers = (*reply.headers, ("Content-Encoding", "gzip"))
    return replace(reply, body=b"".join(packed), headers=headers)


def in_charset(reply: Reply, arg: Any) -> Reply:
    """The text in another charset, which the headers name."""
    body = reply.body.decode().encode(str(arg), "replace")
    return replace(
        reply, body=body, headers=(("Content-Type", f"application/json; charset={arg}"),)
    )


def first_member(text: bytes) -> Spoil:
    """A fault that puts this before the members of the top-level object."""
    return lambda reply, _arg: replace(reply, body=reply.body.replace(b"{", b"{" + text, 1))


def _half(reply: Reply, _arg: Any) -> Reply:
    return replace(reply, body=reply.body[: len(reply.body) // 2])


BODIES: Mapping[str, Spoil] = {
    "cut": lambda reply, _arg: replace(reply, delivery="cut"),
    "reset": lambda reply, _arg: replace(reply, delivery="reset"),
    "truncated": _half,
    "slow": lambda reply, arg: replace(reply, delivery="slow", pace=float(arg)),
    "stall": lambda reply, arg: replace(reply, wait=float(arg)),
    "nan": first_member(b'"ratio":NaN,'),
    "duplicate_keys": first_member(b'"items":[],"data":[],"items":[],"data":[],'),
    "bom": lambda reply, _arg: replace(reply, body=BOM + reply.body),
    "huge": lambda reply, arg: replace(reply, filler=int(arg)),
    "gzip_bomb": bomb,
    "garble": garbled,
    "twice": lambda reply, _arg: replace(reply, delivery="twice"),
    "delayed": lambda reply, _arg: replace(reply, delivery="after the last"),
    "behind": lambda reply, arg: replace(reply, behind=arg),
    "charset": in_charset,
}
